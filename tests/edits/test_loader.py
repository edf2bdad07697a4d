import pytest

from .edited import becomes, edited, refused


@pytest.mark.parametrize(
    ("call", "shuffled"),
    [
        ("DataLoader(data)", "DataLoader(data, shuffle=True)"),
        ("DataLoader(data, batch_size=8, num_workers=2)", "DataLoader(data, batch_size=8, shuffle=True, num_workers=2)"),
        ("DataLoader(data, 8, False)", "DataLoader(data, 8, True)"),
        ("DataLoader(data, shuffle = False , batch_size=8)", "DataLoader(data, shuffle = True , batch_size=8)"),
        ("DataLoader(data, batch_size=8, sampler=SequentialSampler(data))", "DataLoader(data, batch_size=8, shuffle=True)"),
        ("DL(data)", "DL(data, shuffle=True)"),
    ],
)
def test_the_loader_shuffles(call: str, shuffled: str) -> None:
    head = "from torch.utils.data import DataLoader, SequentialSampler\nfrom torch.utils.data import DataLoader as DL\n"
    assert edited("shuffle-loader", f"{head}loader = {call}  # here\n") == f"{head}loader = {shuffled}\n"


def test_a_call_over_several_lines_keeps_its_lines_and_comments() -> None:
    becomes(
        "shuffle-loader",
        """
        loader = torch.utils.data.DataLoader(  # here
            data,
            batch_size=8,  # small
            collate_fn=collate,
        )
        """,
        """
        loader = torch.utils.data.DataLoader(
            data,
            batch_size=8,  # small
            shuffle=True,
            collate_fn=collate,
        )
        """,
    )


@pytest.mark.parametrize(
    "call",
    [
        "DataLoader(data, **options)",
        "DataLoader(data, shuffle=train)",
        "DataLoader(data, sampler=mine)",
        "DataLoader(data, batch_sampler=mine)",
        "make(data)",
    ],
)
def test_a_loader_whose_order_another_decides_on_is_left(call: str) -> None:
    assert refused("shuffle-loader", f"loader = {call}  # here\n")


def test_the_loader_is_found_from_its_loop() -> None:
    becomes(
        "drop-last",
        """
        loader = DataLoader(data, batch_size=8)
        for x in loader:  # here
            pass
        """,
        """
        loader = DataLoader(data, batch_size=8, drop_last=True)
        for x in loader:
            pass
        """,
    )


def test_a_distributed_sampler_is_told_the_epoch() -> None:
    becomes(
        "set-epoch",
        """
        sampler = DistributedSampler(data)
        loader = DataLoader(data, sampler=sampler)  # here
        for epoch in range(10):
            for x in tqdm(loader):
                train(x)
        """,
        """
        sampler = DistributedSampler(data)
        loader = DataLoader(data, sampler=sampler)
        for epoch in range(10):
            sampler.set_epoch(epoch)
            for x in tqdm(loader):
                train(x)
        """,
    )


def test_workers_seed_by_what_torch_draws() -> None:
    becomes(
        "reseed-workers",
        """
        import numpy as np
        def init(worker_id):
            np.random.seed(7)
        loader = DataLoader(data, num_workers=2, worker_init_fn=init)  # here
        """,
        """
        import torch
        import numpy as np
        def init(worker_id):
            np.random.seed(torch.initial_seed() % 2**32)
        loader = DataLoader(data, num_workers=2, worker_init_fn=init)
        """,
    )


def test_a_generator_of_the_dataset_is_made_anew_in_each_worker() -> None:
    becomes(
        "seed-workers",
        """
        import numpy as np
        import torch

        class Crops(Dataset):
            def __init__(self):
                self.rng = np.random.default_rng(0)

        def main():
            data = Crops()  # here
            loader = DataLoader(data, num_workers=2)
        """,
        """
        import numpy as np
        import torch

        class Crops(Dataset):
            def __init__(self):
                self.rng = np.random.default_rng(0)

        def worker_init_fn(worker_id):
            info = torch.utils.data.get_worker_info()
            info.dataset.rng = np.random.default_rng(info.seed)

        def main():
            data = Crops()
            loader = DataLoader(data, num_workers=2, worker_init_fn=worker_init_fn)
        """,
    )


def test_a_batch_size_is_set_where_it_is_a_number() -> None:
    assert (
        edited("batch-size", "loader = DataLoader(data, batch_size=2)  # here\n", size=32) == "loader = DataLoader(data, batch_size=32)\n"
    )
    assert "args.batch" in refused("batch-size", "loader = DataLoader(data, batch_size=args.batch)  # here\n", size=32)


def test_a_sampler_gets_the_weight_of_each_samples_class() -> None:
    becomes(
        "weigh-samples",
        """
        import torch
        from torch.utils.data import WeightedRandomSampler

        def sampler_of(labels):
            counts = torch.bincount(labels)
            weights = 1.0 / counts.float()
            return WeightedRandomSampler(weights, len(weights))  # here
        """,
        """
        import torch
        from torch.utils.data import WeightedRandomSampler

        def sampler_of(labels):
            counts = torch.bincount(labels)
            weights = 1.0 / counts.float()
            return WeightedRandomSampler(weights[labels], len(labels))
        """,
    )
    assert refused("weigh-samples", "weights = torch.tensor([0.1, 0.9])\nsampler = WeightedRandomSampler(weights, 800)  # here\n")


def test_the_loader_that_a_net_predicts_through_keeps_its_order() -> None:
    becomes("predict-in-order", "net = Net(M, iterator_valid__shuffle=True)  # here\n", "net = Net(M, iterator_valid__shuffle=False)\n")
    assert refused("predict-in-order", "net = Net(M, iterator_valid__shuffle=mix)  # here\n")
