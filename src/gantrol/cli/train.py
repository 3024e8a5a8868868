"""`gantrol train`."""

from __future__ import annotations

import math
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from gantrol.cli import INTERRUPTED
from gantrol.errors import ConfigError

if TYPE_CHECKING:
    from gantrol.train.transfer import Source

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_.]*=", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model, or continue a training exactly where it stopped.

    Example: gantrol train --preset stylegan3-t --scale tiny --data faces.zip --out runs/first

    Example: gantrol train --preset stylegan3-t --data few.zip --out runs/few --augment ada

    Example: gantrol train --preset transgan-v1-s --d autogan --loss hinge --data faces.zip --out runs/swap

    Example: gantrol train --init runs/first --data few.zip --out runs/second --freeze-d 2

    Example: gantrol train --preset stylegan3-t --data faces.zip --out runs/controlled --control age,pose,light,identity

    Example: gantrol train --preset stylegan3-t --data faces.zip --out runs/scored --metrics fid,eqt --metrics-every 200

    Example: gantrol train --preset stylegan3-t --data faces.zip --out runs/first --dry-run

    Example: gantrol train --resume runs/first
    """

    preset: str | None = None
    """Family of networks: `gantrol presets` lists them; by default with --init: that of the model."""
    data: Path | None = None
    """Dataset zip or folder."""
    out: Path | None = None
    """The run folder to write."""
    resume: Path | None = None
    """Continue the run in this folder instead of starting a new one."""
    init: str | None = None
    """Start from the weights of this model: a run, a model folder or a Hub id. What fits is listed."""
    freeze_d: int = 0
    """With --init: so many blocks of the discriminator, from the highest resolution on, keep its weights (Freeze-D)."""
    scale: str | None = None
    """tiny, small, base or paper; by default base, with --init that of the model or the nearest."""
    kimg: float | None = None
    """Length in thousands of images shown; by default the scale's."""
    minutes: float | None = None
    """Stop after this time, with a checkpoint from which --resume continues."""
    batch: int | None = None
    """Images per step, over all devices."""
    devices: int = 1
    """Devices per machine."""
    nodes: int = 1
    """Machines."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    d: str | None = None
    """Discriminator instead of the preset's: stylegan2, transgan-v1, transgan-v2, autogan or wgan-gp."""
    loss: str | None = None
    """non-saturating, saturating, hinge, lsgan, wgan, wgan-gp, wgan-gp-eps, relativistic or relativistic-average."""
    augment: Literal["none", "ada", "diffaugment"] | None = None
    """Augmentation for small datasets: ada adapts its strength, diffaugment is fixed; by default the preset's."""
    control: str | None = None
    """Attributes that shall be set by value, for example age,pose,light,hair_color,expression,identity."""
    predictors: str | None = None
    """With --control: the folder of the predictors that read them; by default the bundled ones, for portraits."""
    anchors: bool = False
    """With --control: prescribe which value each latent stands for; learns control from far fewer images (ours)."""
    metrics: str | None = None
    """Score the model while it trains and keep the best checkpoint: by commas, as for `gantrol evaluate`."""
    metrics_every: float | None = None
    """Thousands of images between two scores; by default a twentieth of the training, with --metrics fid."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number type of the layers that may use a lower one; auto takes what suits the device."""
    x_flip: bool = False
    """Also show every image mirrored."""
    use_labels: bool = False
    """Train a class-conditional model from the dataset's labels."""
    skip_bad: bool = False
    """Leave damaged images out (they are counted) instead of stopping."""
    seed: int = 0
    """Makes the training repeatable."""
    deterministic: bool = False
    """The same seed gives the same bits, also on a GPU where it can; keeps the number of threads; slower there."""
    dry_run: bool = False
    """Only say what the training would take: parameters, memory, time and disk, measured on a few steps."""
    overrides: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Any config.field=value, for example generator.channel_max=64 loss.r1_gamma=0.5."""


def arrange(arguments: Sequence[str]) -> list[str]:
    """Puts field=value arguments last, so that they may stand anywhere between the options."""
    overrides = [argument for argument in arguments if _OVERRIDE.match(argument)]
    return [argument for argument in arguments if not _OVERRIDE.match(argument)] + overrides


def run(options: Train) -> int:
    from gantrol.train.run import check_is_new, create_run, discard_run, has_checkpoint, read_config, write_config

    command = "gantrol " + shlex.join(sys.argv[1:])
    source: Source | None = None
    options = _restarted(options, command)
    if options.resume is not None:
        _check_resume(options)
        folder = options.resume
        config, original = read_config(folder)
        command = original or command
        if options.kimg is not None:
            config = replace(config, kimg=options.kimg)
        if config.init and not has_checkpoint(folder):  # else the checkpoint holds what came from that model
            source = _source(config.init)
    else:
        folder, config, source = _new_config(options)
        check_is_new(folder)
    if options.minutes is not None and not options.minutes > 0:
        raise ConfigError(f"--minutes {options.minutes:g}: expected a positive number")
    if options.dry_run:
        return _tell_forecast(config, folder, options)
    # Only now, because these take seconds to import.
    from gantrol.cli.devices import launch
    from gantrol.train.loop import train

    fabric = launch(options.device, options.devices, options.nodes)
    if fabric.is_global_zero:
        if options.resume is None:
            create_run(folder, config, command)
        else:
            write_config(folder, config, command)
    fabric.barrier()
    is_done = False
    try:
        with reporter(config, options.minutes, is_quiet=not fabric.is_global_zero) as report:
            is_done = train(
                config,
                folder,
                fabric,
                report,
                is_resumed=options.resume is not None,
                max_minutes=options.minutes,
                source=source,
            )
    except BaseException:
        if options.resume is None and fabric.is_global_zero:
            discard_run(folder)  # unless there is a checkpoint to continue from
        raise
    finally:
        if fabric.is_global_zero and has_checkpoint(folder):
            _write_report(folder)
    if not is_done:
        print(f"stopped; everything so far is saved: gantrol train --resume {folder}", file=sys.stderr)
        return INTERRUPTED
    if fabric.is_global_zero:
        print(f"{folder}  (next: gantrol generate {folder} --seeds 0-15 --out images --grid grid.png)")
    return 0


def _tell_forecast(config: Any, folder: Path, options: Train) -> int:
    """Prints what the training would take; writes nothing."""
    import shutil

    from gantrol.train.determinism import determinism
    from gantrol.train.forecast import forecast
    from gantrol.train.run import saved_images

    n_img = saved_images(folder) if options.resume is not None else 0
    world_size = options.devices * options.nodes
    device = _device_type(options.device)
    with determinism(config, lambda text: print(text, file=sys.stderr)):
        found = forecast(config, device, world_size=world_size, n_img=n_img)
    each = f" per device, {world_size} of them" if world_size > 1 else ""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    print(f"parameters  {found.g_parameters:,} in the generator, {found.d_parameters:,} in the discriminator")
    print(f"memory      {found.memory_bytes / 2**30:.2f} GiB on {device}{each}")
    print(
        f"time        {found.seconds_per_kimg:.1f} s per kimg{each}, {duration(found.seconds)} for "
        f"{config.kimg - n_img / 1000:g} kimg; reading data, saving and scores come on top"
    )
    print(
        f"disk        {found.disk_bytes / 2**20:.1f} MiB in {folder}, {found.checkpoint_bytes / 2**20:.1f} MiB of it "
        f"per checkpoint; {free / 2**30:.1f} GiB are free"
    )
    if found.micro_batch != config.micro_batch:
        print(f"a batch does not fit into the memory: the training will take micro_batch={found.micro_batch}")
    if found.disk_bytes > free:
        print("this is more than is free: choose another --out, or keep_checkpoints=1")
    return 0


def _write_report(folder: Path) -> None:
    """RUN/report.html as it stands; what goes wrong is said in one line, because the training itself is saved."""
    from gantrol.report import write_report

    try:
        write_report(folder)
    except Exception as error:
        print(f"the page {folder / 'report.html'} was not written: {' '.join(str(error).split())}", file=sys.stderr)


_MAY_CHANGE = ("resume", "kimg", "minutes", "device", "devices", "nodes", "dry_run")


def _restarted(options: Train, command: str) -> Train:
    """The options of a process that torchrun may have started again: a run that began with this command goes on."""
    from gantrol.cli.devices import is_elastic
    from gantrol.train.run import CONFIG, read_config

    if options.resume is not None or options.out is None or not is_elastic() or not (options.out / CONFIG).exists():
        return options
    if read_config(options.out)[1] != command:
        return options
    kept = {name: getattr(options, name) for name in _MAY_CHANGE if name not in ("resume", "kimg")}
    return Train(resume=options.out, **kept)


def _check_resume(options: Train) -> None:
    """A resumed run has its config already: refuses options that would be ignored."""
    for field in fields(options):
        if field.name not in _MAY_CHANGE and getattr(options, field.name) != field.default:
            name = "field=value" if field.name == "overrides" else "--" + field.name.replace("_", "-")
            raise ConfigError(
                f"--resume takes its config from the run: {name} cannot be changed, only --kimg and --minutes"
            )


def _source(name: str) -> Source:
    """The model that a training starts from."""
    from gantrol.model import load
    from gantrol.train.transfer import Source

    model = load(name, device="cpu")
    path = Path(name).expanduser()
    return Source(
        name=str(path.resolve()) if path.exists() else name,
        generator=model.generator,
        discriminator=model.discriminator,
        training=model.training,
    )


def _new_config(options: Train) -> tuple[Path, Any, Source | None]:
    """The run folder and config of a new training, and the model that it starts from."""
    from gantrol.config import override
    from gantrol.data.dataset import ImageDataset
    from gantrol.train.presets import DataShape, choose_precision, discriminator_config, preset, stable_precision
    from gantrol.train.transfer import freeze_blocks, transfer_config

    for name in ("preset", "data", "out"):
        is_needed = not (name == "preset" and options.init) and not (name == "out" and options.dry_run)
        if getattr(options, name) is None and is_needed:
            raise ConfigError(
                f"--{name} is missing; example: gantrol train --preset stylegan3-t --scale tiny --data F.zip --out RUN"
            )
    if options.freeze_d and options.init is None:
        raise ConfigError("--freeze-d keeps weights of the model that --init names: give --init MODEL too")
    for assignment in options.overrides:
        if assignment.startswith(("init=", "init_sha256=")):
            raise ConfigError(f"{assignment}: give the model to start from with --init MODEL")
    source = None if options.init is None else _source(options.init)
    assert options.data is not None
    dataset = ImageDataset(options.data, use_labels=options.use_labels, skip_bad=options.skip_bad)
    if options.use_labels and dataset.label_dim == 0:
        raise ConfigError(f"{options.data} has no labels: leave --use-labels away")
    shape = DataShape(
        resolution_px=dataset.resolution_px,
        channels=dataset.channels,
        label_dim=dataset.label_dim if options.use_labels else 0,
    )
    precision = options.precision if options.precision != "auto" else choose_precision(_device_type(options.device))
    if source is not None:
        config = transfer_config(
            source,
            shape,
            preset_name=options.preset,
            scale=options.scale,
            batch=options.batch,
            precision=precision,
        )
    else:
        assert options.preset is not None
        config = preset(options.preset, options.scale or "base", shape, batch=options.batch, precision=precision)
    if options.d is not None:
        d = discriminator_config(options.d, config.scale, shape, batch=options.batch, precision=config.precision)
        config = replace(config, discriminator=d)
    if options.precision == "auto":
        config = replace(config, precision=stable_precision(config))
    config = replace(config, data=str(options.data.resolve()), skip_bad=options.skip_bad, seed=options.seed)
    config = replace(config, x_flip=options.x_flip or config.x_flip)
    if options.kimg is not None:
        config = replace(config, kimg=options.kimg)
    if options.loss is not None:
        config = replace(config, loss=config.loss.named(options.loss))
    if options.augment is not None:
        config = replace(config, augment=replace(config.augment, name=options.augment))
    if options.control is not None:
        config = _controlled(config, options, dataset, None if source is None else source.generator.w_dim)
    elif options.predictors is not None or options.anchors:
        raise ConfigError("--predictors and --anchors are about what --control names: give --control too")
    if options.metrics is not None or options.metrics_every is not None:
        config = _evaluated(config, options)
    config = override(config, options.overrides)
    if options.freeze_d:
        config = replace(config, discriminator=freeze_blocks(config.discriminator, options.freeze_d))
    if options.deterministic:
        import torch

        config = replace(config, deterministic=True, threads=config.threads or torch.get_num_threads())
    return options.out or Path("run"), config, source


def _evaluated(config: Any, options: Train) -> Any:
    """The config with the schedule of --metrics and --metrics-every."""
    from gantrol.train.evaluation import EvaluationConfig

    every_kimg = options.metrics_every
    if every_kimg is not None and not 0 < every_kimg < math.inf:
        raise ConfigError(f"--metrics-every {every_kimg:g}: expected a positive number of thousand images")
    changes: dict[str, Any] = {"every_kimg": config.kimg / 20 if every_kimg is None else every_kimg}
    if options.metrics is not None:
        changes["metrics"] = tuple(name.strip() for name in options.metrics.split(",") if name.strip())
    return replace(config, evaluation=EvaluationConfig(**changes))


def _controlled(config: Any, options: Train, dataset: Any, width: Any) -> Any:
    """The config with latent groups for the attributes of --control, and with the thresholds of their predictors.

    `width` is that of the model's w if one is given to begin with.
    """
    from gantrol.checkpoint import sha256_of
    from gantrol.cli.progress import progress_bar
    from gantrol.control.anchors import measure_anchors
    from gantrol.control.calibration import calibrate, thresholds_from_dict
    from gantrol.control.predictors.folder import BUNDLED, load_predictors, read_manifest
    from gantrol.train.control import attribute_names, controllable, resolved_name

    assert options.control is not None
    names = attribute_names(options.control)
    predictors = resolved_name(options.predictors or BUNDLED)
    loaded = load_predictors(predictors)
    loaded.require(names)
    known = thresholds_from_dict(read_manifest(predictors).get("thresholds", {}))
    missing = [name for name in names if name not in known]
    if missing:
        with progress_bar("thresholds") as update:
            known |= calibrate(loaded, dataset, missing, progress=update)
    anchors: Any = ()
    if options.anchors:
        with progress_bar("anchors") as update:
            anchors = measure_anchors(loaded, dataset, names, progress=update)
    return controllable(
        config,
        {name: known[name] for name in names},
        predictors=predictors,
        predictors_sha256=sha256_of(loaded.state_dict()),
        anchors=anchors,
        width=width,
    )


def _device_type(device: str) -> str:
    """The kind of device that Fabric will choose."""
    import torch

    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


# ---------------------------------------------------------------------------------------------------------------------
# Telling the user


class LineReporter:
    """One line per tick: for logs and pipes.

    Args:
        total_img: images at which the training ends.
        minutes: its time limit, or None.
        is_quiet: say nothing.
    """

    def __init__(self, total_img: int, minutes: float | None = None, is_quiet: bool = False) -> None:
        self.total_img = total_img
        self.is_quiet = is_quiet
        self._ends_at = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def __enter__(self) -> LineReporter:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        return None

    def tick(self, tick: dict[str, Any]) -> None:
        self.message(f"{self.where(tick['n_img'], tick['img_per_s'])} · {losses(tick)}")

    def message(self, text: str) -> None:
        if not self.is_quiet:
            print(text, file=sys.stderr, flush=True)

    def where(self, n_img: int, img_per_s: float) -> str:
        """Progress, rate and time left, in a few words."""
        left = max(min((self.total_img - n_img) / max(img_per_s, 1e-9), self._ends_at - time.monotonic()), 0)
        return f"kimg {n_img / 1000:.2f}/{self.total_img / 1000:g} · {img_per_s:.1f} img/s · {duration(left)} left"


class LiveReporter(LineReporter):
    """A live progress line at a terminal, with one line per tick above it."""

    def __init__(self, total_img: int, minutes: float | None) -> None:
        super().__init__(total_img, minutes)
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.fields[text]}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("", total=total_img, text="first step…")

    def __enter__(self) -> LiveReporter:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, n_img: int, total_img: int, img_per_s: float) -> None:
        self._bar.update(self._task, completed=n_img, text=self.where(n_img, img_per_s))

    def message(self, text: str) -> None:
        self._bar.console.print(text, highlight=False)


def reporter(config: Any, minutes: float | None, is_quiet: bool = False) -> LineReporter:
    """The reporter that fits where stderr goes."""
    total_img = math.ceil(config.kimg * 1000)
    if is_quiet or not sys.stderr.isatty():
        return LineReporter(total_img, minutes, is_quiet)
    return LiveReporter(total_img, minutes)


def losses(tick: dict[str, Any]) -> str:
    """The losses of a tick in a few words, and the strength of the augmentation if it adapts."""
    labels = (
        ("G", "loss/g"),
        ("D", "loss/d"),
        ("R1", "penalty/r1"),
        ("R2", "penalty/r2"),
        ("GP", "penalty/gp"),
        ("SR", "loss/super_resolution"),
        ("C", "loss/control"),
        ("rec", "loss/reconstruction"),
        ("p", "augment/p"),
    )
    return " · ".join(f"{label} {tick[key]:.3f}" for label, key in labels if key in tick)


def duration(seconds: float) -> str:
    """A time as h:mm:ss or m:ss."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
