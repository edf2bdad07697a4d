"""Writes handwritten digits from scikit-learn as an image folder: FOLDER/train/0/0000.png ... FOLDER/val/8/1796.png.

python examples/digit_images.py digits
trainlint recipe digits --model test_resnet --size 32 --set hflip=0

The data lists its writers one after the other. The first 300 images are for training, the last 600 for validation: few examples, and
other hands than those trained on. A second argument sets the number for training, up to 1197.
"""

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def write(folder: Path, train: int = 300, val: int = 600) -> None:
    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if train <= index < len(digits.images) - val:
            continue
        path = folder / ("train" if index < train else "val") / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels / 16 * 255).astype("uint8")).save(path)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "digits")
    write(target, int(sys.argv[2]) if len(sys.argv) > 2 else 300)
    print(f"{target}: train and val, one folder a digit")
