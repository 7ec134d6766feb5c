"""Trained networks as results: what degradation, shortcuts and bottleneck have in common."""

from dataclasses import replace

from models import find
from paper.names import sort_key, title
from paper.options import Options
from paper.results import Results, Row, merged, read
from paper.runs import Record, Run
from paper.tables import markdown, over_seeds
from resserve.errors import ResServeError

# By fingerprint of the data set.
DATA_NOTES = {
    "056431f50c50": "Errors are of CIFAR-10 stored as JPEG files of quality 75. A network trained elsewhere on the "
    "clean images, with 8.3 % error there, has 19 % on these: compare errors within this page, never with the paper's "
    "Table 6."
}


def train(experiment: str, options: Options, runs: list[Run]) -> Results:
    """Train the runs in order as far as the budget goes, and add them to the results there are.

    Tables: `runs`, a row for each run, and `epochs`, a row for each of their epochs.

    Raises:
        ResServeError: training cannot go on, or the results there are of other images.
    """
    old = read(options.out / "results", experiment) or Results(experiment=experiment, tables={"runs": [], "epochs": []})
    data = same_data(old, options)
    records = [options.training.train(run, options.budget) for run in runs]
    records = [record for record in records if record.history]
    tables = {
        "runs": merged(old.tables["runs"], map(summary, records), "run"),
        "epochs": merged(old.tables["epochs"], [row for record in records for row in epochs(record)], "run"),
    }
    return replace(old, facts={**old.facts, "data": data}, tables=tables)


def same_data(old: Results, options: Options) -> Row:
    """The data set's facts.

    Raises:
        ResServeError: the results there are were measured on other images.
    """
    images = options.images
    data = {
        "fingerprint": images.files.fingerprint[:12],
        "classes": len(images.files.labels),
        "train": len(images.train),
        "test": len(images.test),
    }
    if old.facts.get("data", data) != data:
        raise ResServeError(f"{options.out} holds results of other images; choose another --out for these.")
    return data


def data_note(results: Results) -> str:
    """The images and, of known ones, how far their errors mean anything elsewhere."""
    data = results.facts["data"]
    note = DATA_NOTES.get(data["fingerprint"], "Errors are of these images only.")
    return (
        f"{data['train']:,} training and {data['test']:,} test images of {data['classes']} classes "
        f"(fingerprint {data['fingerprint']}). {note}"
    )


def summary(record: Record) -> Row:
    """A run in one row: how far it is, its errors, and where it was trained."""
    run, last, saved = record.run, record.history[-1], record.checkpoint
    return {
        "run": run.name,
        "network": run.network,
        "shortcut": run.shortcut or "",
        "seed": run.seed,
        "size": run.size,
        "epochs": run.epochs,
        "epochs_done": last.epoch,
        "train_error": 1 - saved.metrics["train_top1"] if record.finished else "",
        "test_error": last.val_error,
        "precision": saved.recipe["precision"],
        "machine": saved.recipe["machine"],
        "torch": saved.recipe["torch"],
        "date": saved.recipe["date"],
    }


def epochs(record: Record) -> list[Row]:
    """A run's epochs. The training error is of the varied images, while the network was changing."""
    return [
        {
            "run": record.run.name,
            "epoch": epoch.epoch,
            "iteration": epoch.epoch * record.steps_per_epoch,
            "lr": epoch.lr,
            "train_loss": epoch.train_loss,
            "train_error": epoch.train_error,
            "test_loss": epoch.val_loss,
            "test_error": epoch.val_error,
            "seconds": epoch.seconds,
        }
        for epoch in record.history
    ]


def groups(results: Results) -> dict[tuple[str, int, int], list[Row]]:
    """Runs that compare: of one family (networks for CIFAR or for ImageNet), one size and one schedule."""
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in results.tables["runs"]:
        family = "CIFAR" if find(row["network"]).family.startswith("cifar") else "ImageNet"
        found.setdefault((family, row["size"], row["epochs"]), []).append(row)
    return {key: found[key] for key in sorted(found)}


def finished(rows: list[Row], quantity: str, **which: object) -> dict[int, float]:
    """A quantity of the finished runs that have these values, by seed."""
    return {
        row["seed"]: row[quantity]
        for row in rows
        if row["epochs_done"] == row["epochs"] and all(row[name] == value for name, value in which.items())
    }


def error_table(rows: list[Row]) -> str:
    """A row for each network and shortcut option, with errors over its finished runs."""
    lines = []
    kinds = {(row["network"], row["shortcut"]) for row in rows}
    for network, shortcut in sorted(kinds, key=lambda kind: (sort_key(kind[0]), kind[1])):
        mine = [row for row in rows if (row["network"], row["shortcut"]) == (network, shortcut)]
        done = ", ".join(f"{row['epochs_done']}/{row['epochs']}" for row in mine)
        train, test = (list(finished(mine, quantity).values()) for quantity in ("train_error", "test_error"))
        errors = [over_seeds(train), over_seeds(test)] if train else ["not finished yet"] * 2
        lines.append([title(network), shortcut or "-", done, *errors])
    return markdown(["network", "shortcut", "epochs, by seed", "training error", "test error"], lines)


def schedule_note(size: int, epochs: int) -> str:
    """The recipe of the runs in words."""
    return (
        f"{epochs} epochs of batch 128 at {size} pixels; SGD with momentum 0.9 and weight decay 1e-4; learning rate "
        f"0.1, divided by 10 after epochs {epochs / 2:g} and {epochs * 0.75:g}. The paper trains 64k iterations, 164 "
        "epochs, and divides at 1/2 and 3/4 as well. Images are shifted by up to an eighth and mirrored at random, as "
        "in section 4.2."
    )


def provenance(rows: list[Row]) -> str:
    """Machines, versions and days of the runs."""
    kinds = dict.fromkeys((row["machine"], row["precision"], row["torch"]) for row in rows)
    machines = "; ".join(f"{machine}, {precision}, PyTorch {torch}" for machine, precision, torch in kinds)
    days = sorted({row["date"] for row in rows})
    return f"Trained on {machines}; {' to '.join(dict.fromkeys((days[0], days[-1])))}."
