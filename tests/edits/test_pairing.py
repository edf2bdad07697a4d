from .edited import becomes, edited, refused

KEY = "key=lambda name: (len(str(name)), str(name))"


def test_numbered_files_are_put_in_numeric_order() -> None:
    becomes(
        "natural-order",
        """
        class Scans(Dataset):
            def __init__(self, folder):
                self.files = sorted(os.listdir(folder))
                self.labels = table["label"].tolist()  # here
        """,
        f"""
        class Scans(Dataset):
            def __init__(self, folder):
                self.files = sorted(os.listdir(folder), {KEY})
                self.labels = table["label"].tolist()
        """,
    )
    for files in (
        "glob.glob(f'{d}/*.png')",
        "Path(d).glob('*.png')",
        "[f for f in os.listdir(d) if f.endswith('g')]",
        "p.name for p in d.iterdir()",
    ):
        after = edited("natural-order", f"def load(d):\n    return sorted({files})  # here\n")
        assert KEY in after


def test_in_doubt_the_order_of_files_stays() -> None:
    for script in (
        "files = sorted(os.listdir(d), key=len)  # here\n",
        "files = sorted(os.listdir(d), reverse=True)  # here\n",
        "a, b = sorted(os.listdir(d)), sorted(os.listdir(e))  # here\n",
        "files = sorted(glob.glob(d + '/*/*.png'))  # here\n",
        "files = sorted(names)  # here\n",
        "files = os.listdir(d)  # here\n",
    ):
        assert refused("natural-order", script)
