"""Average the weights of two networks of one kind, as between a network and its fine-tuned self.

    python studies/average_weights.py BEFORE.safetensors AFTER.safetensors MEAN.safetensors

Halfway, much of what fine-tuning taught is there and little of what it took is gone (Wortsman et
al., CVPR 2022). Limits and metadata are those of the second.
"""

from pathlib import Path
from typing import Annotated

import typer

from tdafd_cli.weights.file import save_weights
from tdafd_cli.weights.store import load_weights


def main(
    before: Annotated[str, typer.Argument(help="Name or path.")],
    after: Annotated[str, typer.Argument(help="Name or path.")],
    target: Annotated[Path, typer.Argument(help="File to write.")],
    share: Annotated[float, typer.Option(help="Of the second.")] = 0.5,
) -> None:
    """Write the mean of two files of weights."""
    first, second = load_weights(before), load_weights(after, scale=load_weights(before).scale)
    network = second.network()
    mean = {
        name: (1 - share) * first.state[name] + share * value
        for name, value in second.state.items()
    }
    mean["falloff_limits"] = second.state["falloff_limits"]
    network.load_state_dict(mean)
    save_weights(target, network, dict(second.metadata))


if __name__ == "__main__":
    typer.run(main)
