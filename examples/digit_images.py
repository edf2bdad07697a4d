"""Writes scikit-learn's 1,797 handwritten digits as an image folder: FOLDER/train/0/0000.png ... FOLDER/val/9/1796.png.

python examples/digit_images.py digits
trainlint recipe digits --model test_resnet --size 32 --set hflip=0

The data lists its writers one after the other, and the last third is held back for validation: other hands than those trained on.
"""

import sys
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits


def write(folder: Path, train_share: float = 2 / 3) -> None:
    digits = load_digits()
    border = round(train_share * len(digits.images))
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / ("train" if index < border else "val") / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels / 16 * 255).astype("uint8")).save(path)


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "digits")
    write(target)
    print(f"{target}: train and val, one folder a digit")
