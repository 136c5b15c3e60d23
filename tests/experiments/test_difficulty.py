"""The measurement of how hard the drawn sets are, at a size that shows only that it runs."""

from lvlm_va.alignment import TrainingOptions
from lvlm_va.experiments.difficulty import main, measure_difficulty


def test_groups_of_the_test_images_are_measured():
    options = TrainingOptions(epochs=1, batch_size=8)
    small = {"module": "cnn", "n_train": 16, "n_test": 40, "size": 32, "options": options}
    groups = measure_difficulty("radiographs", shortcut=True, **small)
    assert groups.groups.tolist() == ["arthritic/L", "arthritic/R", "healthy/L", "healthy/R"]
    assert groups.sizes.tolist() == [10] * 4
    again = measure_difficulty("radiographs", shortcut=True, **small)
    assert (again.accuracies == groups.accuracies).all()


def test_both_nets_are_reported(capsys):
    main("lesions", module="mlp", epochs=0, n_train=4, n_test=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": accuracy")[0] for line in lines] == [
        f"lesions, trained {word} the shortcut" for word in ("without", "with")
    ]
