"""A ResNet with BatchNorm: SGD with momentum, cosine, label smoothing, crops and flips, a file for each epoch."""

import argparse
from pathlib import Path

import torch
from nets import resnet
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--data", required=True, help="a folder of pictures for each class")
parser.add_argument("--out", required=True)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--size", type=int, default=16)
parser.add_argument("--lr", type=float, default=0.2)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
prepare = transforms.Compose(
    [
        transforms.Resize(args.size),
        transforms.RandomCrop(args.size, padding=args.size // 8),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    ]
)
pictures = datasets.ImageFolder(args.data, prepare)
loader = DataLoader(pictures, batch_size=64, shuffle=True, drop_last=True)
model = resnet(len(pictures.classes))
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=5e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)

Path(args.out).mkdir(parents=True, exist_ok=True)
for epoch in range(args.epochs):
    model.train()
    total = 0.0
    for x, y in loader:
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    schedule.step()
    print(f"epoch {epoch}: loss {total / len(loader):.3f}", flush=True)
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch},
        f"{args.out}/checkpoint_{epoch:03d}.pth",
    )
