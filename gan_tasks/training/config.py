"""The options of the training loop."""

from __future__ import annotations

from dataclasses import dataclass

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.ranges import Checked, Count, PositiveCount, Seed, Workers
from gan_tasks.tasks.base import BestBy
from gan_tasks.training.runtime import Precision


@dataclass(frozen=True)
class TrainConfig(Checked):
    """Options of the training loop. They are the same for every task."""

    seed: Seed = 0
    """The seed of all random numbers."""
    device: str = "auto"
    """The device to train on: auto, cpu, cuda or cuda:N."""
    precision: Precision = "auto"
    """The precision of the networks' arithmetic. auto is bf16 on hardware that computes it fast, else fp32."""
    compile: bool = False
    """Compile the networks with torch.compile. The start becomes slower, and the steps on a GPU become faster. In
    CUT, the layers that the contrastive loss runs one by one are not compiled."""
    recompute: bool = False
    """Compute the features of the generators again in the backward pass, instead of keeping them. This takes less
    memory and more time. The result is the same. It has no effect on U-Nets, which take little, and on synthesis, and
    does not work with --compile."""
    workers: Workers = 2
    """The number of processes that read images. 0 reads them in the training process."""
    max_steps: Count = 0
    """The number of steps to stop after, with a checkpoint. 0 trains to the end."""
    log_every_steps: Count = 50
    """The number of steps between two lines of the journal."""
    sample_every_steps: Count = 1000
    """The number of steps between two grids of sample images."""
    evaluate_every_steps: Count = 1000
    """The number of steps between two evaluations on the validation images, if there are any."""
    checkpoint_every_steps: Count = 1000
    """The number of steps between two checkpoints."""
    report_every_s: Count = 60
    """The number of seconds between two drawings of sample images and report.html, beside --sample-every-steps. It is
    larger if drawing would take more than 5 % of the time. 0 draws the report at the end only."""
    checkpoint_every_s: Count = 600
    """The number of seconds between two checkpoints, beside --checkpoint-every-steps. The first comes after a minute.
    It is larger if saving would take more than 5 % of the time. 0 saves none by time."""
    keep_checkpoints: PositiveCount = 2
    """The number of newest checkpoints to keep. The best one is kept in addition."""
    hold_out: Count | None = None
    """The number of images to hold out of the training, to measure it, if there is no val and no test folder. Of
    unpaired images it is that of each side. The default is a tenth, 50 at most, and none of fewer than 40. 0 holds
    out none."""
    max_evaluated_images: PositiveCount = 50
    """The largest number of held-out images in an evaluation during training."""
    best_by: BestBy | None = None
    """The metric of the validation images that chooses the best checkpoint, and that --patience and --schedule
    plateau follow. The default is the task's own. kernel-distance needs the extra `features` (EfficientNet-Lite0), or
    downloads VGG16 once if EfficientNet-Lite0 is used in the training."""
    patience: Count = 0
    """A stage ends after this number of evaluations in a row without an improvement. 0 never ends it early."""
    max_skipped_steps: PositiveCount = 20
    """Training stops after this number of steps in a row with losses or gradients that are not finite."""
    quiet: bool = False
    """Do not show progress."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile and self.recompute:
            raise UserError("--compile and --recompute do not work together: leave one of them out")
