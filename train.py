"""Train a network: a config in; a checkpoint, TensorBoard logs and curves out.

python train.py --config palindrome_lstm.yaml [options]

--config FILE                      in configs/, or a path; a second overrides
--data.length 20                   any setting in the config: of the data,
--model.learning_rate 1e-3         of the training,
--model.network.hidden_size 512    of the network, and so on
--model.network.layer kernels.GRU  another class, by its import path
--seed_everything 7                other weights and other data
--trainer.max_steps 500            where the training ends; or max_epochs
--trainer.precision auto           bf16-mixed where that is faster
--trainer.accelerator cpu          or gpu; --trainer.devices 2 takes two
--ckpt_path last                   go on where this config's newest run stopped

--stage test --ckpt_path runs/…/best.ckpt    evaluate only
--print_config                               show all settings, and do nothing
--help all                                   show all options

A run leaves runs/<config>/version_<n>/. Ctrl-C stops and saves it.
"""

import os
import signal
import sys

from lightning_modules.cli.parent import stop_with_parent
from lightning_modules.signals import SIGNALS, leave_on_signals

# Large buffers on huge pages: page faults cost a recurrent training step a good part of its time. Read with torch.
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
        for signum in SIGNALS:  # nothing is left to stop
            signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
