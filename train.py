"""Train a network: a config in; a checkpoint, TensorBoard logs and curves out.

python train.py --config palindrome_lstm.yaml [options]

--config FILE                      a path or a name in configs/; may be repeated
--data.length 20                   any setting in the config: of the data,
--model.learning_rate 1e-3         the training system,
--model.network.hidden_size 512    the network, and so on
--model.network.layer kernels.GRU  another class, by its import path
--seed_everything 7                other initial weights and other data
--trainer.max_steps 500            length of the training; or max_epochs
--trainer.precision auto           bf16-mixed where that is faster
--trainer.accelerator cpu          or gpu; with --trainer.devices 2, two of them
--ckpt_path last                   continue this config's newest run

--stage test --ckpt_path runs/…/best.ckpt    evaluate only
--stage predict --ckpt_path runs/…/best.ckpt --examples my_texts.txt
--print_config                               print all settings and exit
--help all                                   print all options

A run writes to runs/<config>/version_<n>/. Ctrl-C saves and stops it.
"""

import os
import signal
import sys

from lightning_modules.cli.parent import stop_with_parent
from lightning_modules.signals import SIGNALS, leave_on_signals

# torch reads it when imported: large buffers on huge pages, since page faults slow recurrent training steps down.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def main() -> int:
    """Carry out the command line and return the exit status."""
    leave_on_signals()
    stop_with_parent()
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        if "all" not in arguments:
            print(__doc__, end="")
            return 0
        arguments.remove("all")
    try:
        from lightning_modules.cli.main import main as run

        return run(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "pytorch_lightning", "jsonargparse"):
            raise
        print(f"train.py: error: {error.name} is not installed here; first: source .venv/bin/activate", file=sys.stderr)
        return 2
    finally:
        for signum in SIGNALS:  # from here on there is nothing to stop
            signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
