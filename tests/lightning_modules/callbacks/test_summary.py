"""What TensorBoard's HParams show of a config."""

from lightning_modules.callbacks.summary import hyperparameters


def test_hyperparameters_have_short_names() -> None:
    config = {
        "seed_everything": 42,
        "trainer": {"max_steps": 30, "accelerator": "auto", "gradient_clip_val": None},
        "model": {
            "class_path": "a.System",
            "init_args": {"net": {"class_path": "a.Net", "init_args": {"size": 3}}},
        },
    }
    assert hyperparameters(config) == {
        "seed_everything": 42,
        "trainer.max_steps": 30,
        "model": "a.System",
        "model.net": "a.Net",
        "model.net.size": 3,
    }
