"""Gradient descent on all pictures at once, with a learning rate at which the loss spikes; every step is kept."""

import argparse
from pathlib import Path

import torch
from nets import vgg
from torch import nn
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True, help="a folder of pictures for each class")
parser.add_argument("--out", required=True)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--size", type=int, default=16)
parser.add_argument("--lr", type=float, default=0.05)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
prepare = transforms.Compose(
    [
        transforms.Resize(args.size),
        transforms.ToTensor(),
        transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    ]
)
pictures = datasets.ImageFolder(args.data, prepare)
x = torch.stack([picture for picture, _ in pictures])
y = torch.tensor(pictures.targets)
model = vgg(len(pictures.classes))
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)

Path(args.out).mkdir(parents=True, exist_ok=True)
for step in range(args.steps + 1):
    torch.save({"model": model.state_dict(), "lr": args.lr, "step": step}, f"{args.out}/step_{step:05d}.pt")
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(f"step {step}: loss {loss.item():.3f}", flush=True)
