"""Train the three runs, ask opsig about each as its README does, and hold the answers against what must be true.

python run.py [FOLDER] [--data PICTURES] [--each N] [--quick]

PICTURES has a folder for each class, as torchvision's ImageFolder reads it; without it pictures are drawn. What is
known is computed here anew, with torch and numpy alone. Ends with exit status 1 if an answer is not as expected.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZE = 16
CONSTANTS = "mean=0.49,0.48,0.45&std=0.25,0.24,0.26"
SCREEN = 40  # lines of a report that are shown
failed = []


def expect(true, words):
    """Say whether an answer is as expected, and remember it if not."""
    print(f"{'as expected' if true else 'NOT AS EXPECTED'}: {words}", flush=True)
    if not true:
        failed.append(words)


def opsig(*words, code=0):
    """Run a command, show it, and return what it printed on standard output and on standard error."""
    print("\n$ opsig", *(f"'{word}'" if set(word) & set(" ?&") else word for word in words), flush=True)
    call = [sys.executable, "-m", "opsigcli", *words]
    done = subprocess.run(
        call, check=False, capture_output=True, text=True, env=os.environ | {"COLUMNS": "80"}
    )
    shown = [] if "--json" in words else done.stdout.splitlines()
    print("\n".join(shown[:SCREEN]), done.stderr, sep="\n" if shown else "", flush=True)
    if done.returncode != code:
        sys.exit(f"expected exit status {code}, found {done.returncode}")
    return done.stdout, done.stderr


def answer(*words):
    """The result of a command as an object."""
    return json.loads(opsig(*words, "--json")[0])["result"]


def losses(store):
    """Losses (T, N), labels (N,) and steps (T,), as any reader of HDF5 has them."""
    import h5py

    with h5py.File(store) as file:
        return file["losses"][:].astype(float), file["labels"][:], file["steps"][:].tolist()


def pictures(folder, source, each):
    """A folder of ``each`` pictures of every class: those of ``source``, or drawn ones."""
    if source is None:
        subprocess.run([sys.executable, HERE / "pictures.py", folder, str(each)], check=True)
        return
    for kind in sorted(path for path in Path(source).iterdir() if path.is_dir()):
        (folder / kind.name).mkdir(parents=True, exist_ok=True)
        for file in sorted(kind.iterdir())[:each]:
            shutil.copy(file, folder / kind.name / file.name)


def train(script, data, out, *words):
    """Run one of the training scripts."""
    print(f"\n$ python {script}", *words, flush=True)
    subprocess.run([sys.executable, HERE / script, "--data", data, "--out", out, *words], check=True)


def batch_norm(place, data, model, quick):
    """The ResNet: a loss that belongs to the weights, inputs prepared otherwise, and the threshold of momentum."""
    run, store = place / "batch norm", str(place / "batch norm.h5")
    train("sgd_batchnorm.py", data, run, *(["--epochs", "12"] if quick else []))
    opsig("inspect", str(run))
    words = ("--model", model, "--loss", "ce?label_smoothing=0.1", "--batch-size", "64")
    _, said = opsig("init", str(run), "--data", f"folder:{data}?size={SIZE}", *words, code=3)
    expect("give --data" in said, "pictures that are not normalised as in training are refused")
    opsig("init", str(run), "--data", f"folder:{data}?size={SIZE}&{CONSTANTS}", *words)
    opsig("trace", str(run), "--store", store)
    values, labels, _ = losses(store)
    own, stored = own_losses(run / "checkpoint_000.pth", data, len(set(labels)))
    expect(
        abs(values[0].mean() - own) < 2e-3 * own,
        f"mean loss after the first epoch {values[0].mean():.4f}; plain torch in train mode, all pictures in one batch "
        f"{own:.4f}; in eval mode, with the stored statistics, {stored:.4f}",
    )
    found = answer("sharpness", "--store", store, "--every", "12" if quick else "5")
    known = [p for p in found["points"] if p["threshold"] and p["lr"]]
    expect(
        known and all(abs(p["threshold"] - (3.8 / p["lr"] - 5e-4)) < 1e-6 * p["threshold"] for p in known),
        "thresholds are (2 + 2 · 0.9) / lr of each file, less the weight decay: "
        + ", ".join(f"{p['threshold']:.4g} at lr {p['lr']:.3g}" for p in known),
    )
    report(store, place / "batch norm.html")


def own_losses(file, data, classes):
    """Mean losses of a checkpoint: BatchNorm with the statistics of all pictures, and with those that are stored."""
    import torch
    from torchvision import datasets, transforms

    sys.path.insert(0, str(HERE))
    from nets import resnet

    mean, std = ([float(v) for v in part.split("=")[1].split(",")] for part in CONSTANTS.split("&"))
    steps = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()]
    folder = datasets.ImageFolder(data, transforms.Compose([*steps, transforms.Normalize(mean, std)]))
    x, y = torch.stack([picture for picture, _ in folder]), torch.tensor(folder.targets)
    net = resnet(classes)
    net.load_state_dict(torch.load(file, weights_only=True)["model"])
    with torch.no_grad():
        stored = torch.nn.functional.cross_entropy(net.eval()(x), y, label_smoothing=0.1)
        own = torch.nn.functional.cross_entropy(net.train()(x), y, label_smoothing=0.1)
    return float(own), float(stored)


def adamw(place, data, model, quick):
    """AdamW without its state: nothing is held against a threshold that is not known, and estimates are called so."""
    run, store = place / "adamw", str(place / "adamw.h5")
    train("adamw_bare.py", data, run, *(["--steps", "120"] if quick else []))
    opsig("init", str(run), "--model", model, "--data", f"folder:{data}?size={SIZE}&{CONSTANTS}")
    opsig("trace", str(run), "--store", store)
    last = losses(store)[2][-1]
    some = ("--store", store, "--steps", f"{last}:{last}")
    (bare,) = answer("sharpness", *some)["points"]
    expect(bare["threshold"] is None and bare["ratio"] is None, f"weights alone: {bare['reason']}")
    of_run = ("--optimizer", "AdamW", "--lr", "0.03", "--weight-decay", "0.01", "--minibatch", "64")
    (told,) = answer("sharpness", *some, *of_run)["points"]
    expect(
        told["ratio"] is None or bool(told["estimated"]),
        f"with the optimizer named: ratio {told['ratio']}, {told['estimated'] or told['reason']}",
    )
    report(store, place / "adamw.html")


def descent(place, data, model, quick):
    """Gradient descent at every step: each spike has its classes, and the sharpness there is above the threshold."""
    run, store = place / "descent", str(place / "descent.h5")
    train("gd_every_step.py", data, run, *(["--steps", "110"] if quick else []))
    words = ("--model", model, "--data", f"folder:{data}?size={SIZE}&{CONSTANTS}")
    opsig("init", str(run), *words, "--optimizer", "gd", "--lr", "0.05")
    opsig("trace", str(run), "--store", store)
    said, _ = opsig("report", "--store", store)
    expect("hold" in "\n".join(said.splitlines()[:SCREEN]), "the first screen says who held the spikes")
    spikes = answer("report", "--store", store)["spikes"]
    values, labels, steps = losses(store)
    names = sorted(path.name for path in Path(data).iterdir())
    expect(len(spikes) > 0, f"{len(spikes)} spikes")
    for spike in spikes:
        moved = values[steps.index(spike["next_step"])] - values[steps.index(spike["step"])]
        rose = moved.clip(min=0)
        own = {name: rose[labels == k].sum() / rose.sum() for k, name in enumerate(names)}
        shares = {share["name"]: share["share"] for share in spike["cause"]["classes"]}
        apart = max(abs(own[name] - share) for name, share in shares.items())
        words = f"step {spike['step']} to {spike['next_step']}: {spike['cause']['strength']}: "
        words += " + ".join(spike["cause"]["named"]) or "no class stands out"
        expect(
            apart < 1e-6 and abs(sum(shares.values()) - 1) < 1e-6,
            f"{words}; class shares as a group-by has them",
        )
    most = max(spikes, key=lambda spike: spike["rise"])
    around = f"{max(most['step'] - 2, 0)}:{most['next_step']}"
    points = answer("sharpness", "--store", store, "--steps", around)["points"]
    peak = max(point["ratio"] for point in points)
    expect(peak > 1, f"sharpness came to {peak:.2f} times the threshold around the largest spike, {around}")
    opsig("report", "--store", store, "--html", "--output", str(place / "descent.html"))


def report(store, page):
    """The report, in the terminal and as a page."""
    opsig("report", "--store", store)
    opsig("report", "--store", store, "--html", "--output", str(page))


def main():
    """All three, in a folder whose name has a space."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", default="opsig-vision")
    parser.add_argument("--data", help="a folder of pictures for each class")
    parser.add_argument("--each", type=int, help="pictures of each class (default: 100)")
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    given = parser.parse_args()
    place = Path(given.folder).resolve()
    data = place / "pictures of classes"
    pictures(data, given.data, given.each or (30 if given.quick else 100))
    classes = sum(path.is_dir() for path in data.iterdir())
    for part, net in ((batch_norm, "resnet"), (adamw, "vgg"), (descent, "vgg")):
        part(place, str(data), f"file:{HERE / 'nets.py'}:{net}?classes={classes}", given.quick)
    sys.exit(f"{len(failed)} answers are not as expected: {'; '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
