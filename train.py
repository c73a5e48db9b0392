"""Train a network: a config in; a checkpoint, TensorBoard logs and curves out, in runs/<config>/version_<n>/.

python train.py --config palindrome_lstm.yaml
python train.py --config palindrome_lstm.yaml --data.length 20 --trainer.max_steps 500
python train.py --config palindrome_lstm.yaml --ckpt_path last                            # go on where it stopped
python train.py --config FILE --stage test --ckpt_path runs/…/best.ckpt                    # evaluate only
"""

import os
import signal
import sys

from lightning_modules.signals import SIGNALS, leave_on_signals

# Large buffers on huge pages: page faults cost a recurrent training step a good part of its time. Read with torch.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def main() -> int:
    """Carry out the command line and return the exit status."""
    leave_on_signals()
    try:
        from lightning_modules.cli import main as run

        return run(sys.argv[1:])
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
