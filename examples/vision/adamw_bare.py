"""A VGG-like net under AdamW with a learning rate that is too high; bare weights every 20 steps."""

import argparse
from pathlib import Path

import torch
from nets import vgg
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True, help="a folder of pictures for each class")
parser.add_argument("--out", required=True)
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--size", type=int, default=16)
parser.add_argument("--lr", type=float, default=0.03)
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
loader = DataLoader(pictures, batch_size=64, shuffle=True, drop_last=True)
model = vgg(len(pictures.classes))
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)

Path(args.out).mkdir(parents=True, exist_ok=True)
step = 0
while step < args.steps:
    for x, y in loader:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 20 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
            torch.save(model.state_dict(), f"{args.out}/weights_{step:05d}.pth")
        if step == args.steps:
            break
