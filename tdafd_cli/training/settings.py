"""Training settings: everything that shapes a network's weights."""

from dataclasses import dataclass, field, replace

from tdafd_cli.networks.tdafd import TDAFDConfig
from tdafd_cli.sampling.factors import Factors
from tdafd_cli.training.dataset import DatasetSettings

LOSSES = ("l1", "psnr")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that shapes the weights, apart from the data.

    Parameters
    ----------
    network : TDAFDConfig
    dataset : DatasetSettings
    further_scales : tuple of int
        Scales that are trained in turn with the network's own, in networks that share all but
        their tails with it (see `networks.family`).
    slice_scales : tuple of int
        Likewise, scales of networks for one axis alone, beside one for all three.
    steps : int
        Optimiser steps in all; the learning rate's cosine ends there.
    optimiser : {"muon", "adamw"}
        Muon drives the kernels of hidden layers and AdamW the rest, or AdamW everything.
    loss : {"l1", "psnr"}
        Mean absolute error, or the logarithm of each patch's mean squared error: PSNR itself, in
        which a soft or noiseless volume counts as much as a noisy one.
    learning_rate : float
        Peak, reached after ``warmup_steps``.
    final_fraction : float
        Last learning rate over peak.
    schedule : {"cosine", "cooldown"}
        How the learning rate falls: as a cosine over all steps, or only in the last of them.
    cooldown : float
        Share of the steps in which it falls under ``cooldown``.
    weight_decay, gradient_clip, ema_decay : float
        Of the optimiser, of the gradient's norm, of the weights' average that is validated.
    validate_every : int
        Steps between validations.
    checkpoint_minutes : float
    seed : int
    teacher : str
        Name or path of weights, of the same scale, whose estimate is the target of pairs that were
        not processed: so that a network learns what is new and keeps what it knew. Empty for none.
    """

    network: TDAFDConfig = field(default_factory=TDAFDConfig)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    steps: int = 10_000
    optimiser: str = "muon"
    loss: str = "l1"
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    final_fraction: float = 0.01
    schedule: str = "cosine"
    cooldown: float = 0.25
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    validate_every: int = 2000
    checkpoint_minutes: float = 4.0
    seed: int = 0
    teacher: str = ""
    further_scales: tuple[int, ...] = ()
    slice_scales: tuple[int, ...] = ()

    @property
    def members(self) -> tuple[TDAFDConfig, ...]:
        """Every network that is trained, the one of the configuration first."""
        further = (replace(self.network, scale=scale) for scale in self.further_scales)
        slices = (replace(self.network, axes=1, scale=scale) for scale in self.slice_scales)
        return (self.network, *further, *slices)

    @property
    def factors(self) -> tuple[Factors, ...]:
        """Factors of every network that is trained."""
        return tuple(member.factors for member in self.members)

    def __post_init__(self) -> None:
        if self.dataset.patch % self.network.grid:
            raise ValueError(
                f"patch {self.dataset.patch} is not a multiple of the network's "
                f"grid of {self.network.grid}"
            )
        if self.optimiser not in ("muon", "adamw"):
            raise ValueError(f"optimiser must be muon or adamw, got {self.optimiser!r}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if self.schedule not in ("cosine", "cooldown"):
            raise ValueError(f"schedule must be cosine or cooldown, got {self.schedule!r}")
        if not 0 < self.cooldown <= 1:
            raise ValueError(f"cooldown must be above 0 and at most 1, got {self.cooldown}")
        try:
            factors = self.factors
        except ValueError as error:
            raise ValueError(f"further_scales or slice_scales: {error}") from error
        if len(set(factors)) < len(factors):
            raise ValueError("further_scales and slice_scales must be others, each once")
        if self.teacher and len(factors) > 1:
            raise ValueError(
                "a teacher is of one scale; leave out further_scales and slice_scales, or teacher"
            )
