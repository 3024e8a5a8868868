"""Job 3: the published StyleGAN3-T against ours: equal data, config, losses and images seen.

Both networks are trained by the same lines: the non-saturating loss, R1 every 16 steps, Adam with the correction for
it, a moving average of the weights. What differs is the networks' code. The published one is imported from a checkout
that you have (`--official DIR`, never part of gantrol); its plugin is used where it compiles there. Before the training
both have the same weights, and afterwards both are scored by gantrol, into whose generator the published weights are
read.
"""

from __future__ import annotations

import copy
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import softplus  # noqa: E402

from benchmarks.gpu.measuring import Rows, parser  # noqa: E402
from benchmarks.gpu.training_runs import dataset_of  # noqa: E402
from benchmarks.official import published_networks  # noqa: E402
from gantrol import checkpoint  # noqa: E402
from gantrol.convert.nvidia_names import load_official, official_state  # noqa: E402
from gantrol.data.dataset import ImageDataset  # noqa: E402
from gantrol.data.loader import batches  # noqa: E402
from gantrol.metrics import evaluate  # noqa: E402
from gantrol.model import Model  # noqa: E402
from gantrol.models import StyleGAN2DiscriminatorConfig, StyleGAN3Config  # noqa: E402
from gantrol.train.ema import ema_beta, update_ema  # noqa: E402

R1_INTERVAL = 16
SIDES = ("ours", "official")


class Side:
    """One code's networks, with what trains them; the same lines for both.

    Args:
        g, d: its networks, with the same weights on both sides.
        dtype: of the widest layers; None where the networks were told when they were built.
        device: cuda or cpu.
    """

    def __init__(self, g: Any, d: Any, dtype: torch.dtype | None, device: str) -> None:
        self.g, self.d = g.to(device).train(), d.to(device).train()
        self.g_ema = copy.deepcopy(self.g).eval().requires_grad_(False)
        self.options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
        c = R1_INTERVAL / (R1_INTERVAL + 1)
        on = {"fused": True} if device == "cuda" else {}
        self.g_opt = torch.optim.Adam(self.g.parameters(), lr=0.0025, betas=(0.0, 0.99), eps=1e-8, **on)
        self.d_opt = torch.optim.Adam(self.d.parameters(), lr=0.002 * c, betas=(0.0, 0.99**c), eps=1e-8, **on)
        self.n_img = self.n_step = 0
        self.seconds = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a later call goes on with."""
        found: dict[str, Tensor] = {"counters": torch.tensor([self.n_img, self.n_step, self.seconds]).double()}
        for name in ("g", "d", "g_ema"):
            found |= {f"{name}.{key}": value for key, value in getattr(self, name).state_dict().items()}
        for name, opt in (("g_opt", self.g_opt), ("d_opt", self.d_opt)):
            for index, state in opt.state_dict()["state"].items():
                found |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        n_img, n_step, self.seconds = tensors["counters"].tolist()
        self.n_img, self.n_step = int(n_img), int(n_step)
        for name in ("g", "d", "g_ema"):
            own = {key.partition(".")[2]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
            getattr(self, name).load_state_dict(own)
        for name, opt in (("g_opt", self.g_opt), ("d_opt", self.d_opt)):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"{name}."):
                    _, index, field = key.split(".")
                    state.setdefault(int(index), {})[field] = value
            opt.load_state_dict({"state": state, "param_groups": opt.state_dict()["param_groups"]})

    def step(self, real: Tensor, gamma: float) -> None:
        """A step of G, one of D, every sixteenth time R1, and the moving average."""
        labels = torch.zeros(len(real), 0, device=real.device)
        torch.manual_seed(self.n_step)  # the same latents on both sides
        for opt, is_g in ((self.g_opt, True), (self.d_opt, False)):
            self.g.requires_grad_(is_g)
            self.d.requires_grad_(not is_g)
            opt.zero_grad(set_to_none=True)
            z = torch.randn(len(real), self.g.z_dim, device=real.device)
            fakes = self.g(z, labels, update_emas=not is_g, **self.options)
            logits = self.d(fakes, labels, **self.options)
            if is_g:
                loss = softplus(-logits).mean()
            else:
                loss = softplus(logits).mean() + softplus(-self.d(real, labels, **self.options)).mean()
            loss.backward()
            opt.step()
        if self.n_step % R1_INTERVAL == 0:
            self.d_opt.zero_grad(set_to_none=True)
            seen = real.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.d(seen, labels, **self.options).sum(), [seen], create_graph=True)
            (slope.square().sum(dim=[1, 2, 3]).mean() * (gamma / 2 * R1_INTERVAL)).backward()
            self.d_opt.step()
        update_ema(self.g_ema, self.g, ema_beta(len(real), self.n_img, 10.0, 0.05))
        self.n_img += len(real)
        self.n_step += 1


def sides(options: Any, size_px: int) -> dict[str, Side]:
    """Both, or ours alone without a checkout, from the same weights."""
    sizes = {"channel_base": options.channel_base, "channel_max": options.channel_max}
    latents = {"z_dim": options.z_dim, "w_dim": options.z_dim}
    torch.manual_seed(0)
    our_g = StyleGAN3Config(resolution_px=size_px, num_layers=options.layers, **latents, **sizes).build()
    our_d = StyleGAN2DiscriminatorConfig(resolution_px=size_px, **sizes).build()
    is_half = options.device == "cuda"
    made = {}
    if options.official is not None:
        two, three = published_networks(options.official)
        half = {"num_fp16_res": 4 if is_half else 0, "conv_clamp": 256 if is_half else None}
        g = three.Generator(
            options.z_dim,
            0,
            options.z_dim,
            size_px,
            3,
            mapping_kwargs={"num_layers": 2},
            num_layers=options.layers,
            **sizes,
            **({} if is_half else {"num_fp16_res": 0}),
        )
        d = two.Discriminator(0, size_px, 3, **sizes, **half)
        g.load_state_dict(official_state(our_g))
        d.load_state_dict(official_state(our_d))
        made["official"] = Side(g, d, None, options.device)
    made["ours"] = Side(our_g, our_d, torch.float16 if is_half else torch.float32, options.device)
    return {name: made[name] for name in SIDES if name in made}


def trained(name: str, side: Side, data: Path, options: Any, rows: Rows) -> bool:
    """Trains a side for the time there is, and keeps its state; whether it has seen all its images."""
    kept = options.runs / f"{name}.safetensors"
    if kept.exists():
        side.load(checkpoint.load(kept)[0])
    total = round(options.kimg * 1000)
    stream = batches(ImageDataset(data), batch_size=options.batch, start_img=side.n_img, device=side_device(side))
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began, before = time.monotonic(), side.seconds
    try:
        while side.n_img < total and rows.minutes_left() > 0:
            real = next(stream).images.to(torch.float32).div_(127.5).sub_(1)
            side.step(real, options.gamma)
            if side.n_step % 50 == 0 and options.device == "cuda":
                torch.cuda.synchronize()
    finally:
        stream.close()
    if options.device == "cuda":
        torch.cuda.synchronize()
    side.seconds = before + time.monotonic() - began
    kept.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(kept, side.tensors(), {"n_img": side.n_img})
    return side.n_img >= total


def side_device(side: Side) -> torch.device:
    return next(side.d.parameters()).device


def scored(name: str, side: Side, data: Path, options: Any, size_px: int) -> dict[str, Any]:
    """Speed and memory of the training, and the scores of the averaged generator, by gantrol for both."""
    sizes = {"channel_base": options.channel_base, "channel_max": options.channel_max}
    g = side.g_ema
    if name == "official":
        latents = {"z_dim": options.z_dim, "w_dim": options.z_dim}
        g = StyleGAN3Config(resolution_px=size_px, num_layers=options.layers, **latents, **sizes).build()
        load_official(g, {key: value.cpu() for key, value in side.g_ema.state_dict().items()})
        g = g.to(options.device).eval().requires_grad_(False)
    row: dict[str, Any] = {
        "kimg": side.n_img / 1000,
        "img_per_s": side.n_img / side.seconds,
        "minutes": side.seconds / 60,
    }
    if options.device == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return row | evaluate(Model(g), data, ["fid", "eqt"], samples=options.samples, seed=0)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0], "against_official.json")
    arguments.add_argument("--data", type=Path, help="dataset")
    arguments.add_argument("--official", type=Path, help="a checkout of the published code; without it ours alone")
    arguments.add_argument("--runs", type=Path, default=Path("/tmp/gantrol-official"), help="folder of both states")
    arguments.add_argument("--kimg", type=float, default=200.0, help="length of each training")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--gamma", type=float, default=1.0, help="of R1")
    arguments.add_argument("--layers", type=int, default=14)
    arguments.add_argument("--z-dim", type=int, default=512)
    arguments.add_argument("--channel-base", type=int, default=16384)
    arguments.add_argument("--channel-max", type=int, default=256)
    arguments.add_argument("--samples", type=int, default=5000, help="images per score")
    options = arguments.parse_args()
    if options.smoke:
        options.kimg, options.batch, options.samples = 0.008, 4, 8
        options.layers, options.z_dim, options.channel_base, options.channel_max = 4, 16, 256, 16
    rows = Rows(options, options.device)
    data = dataset_of(options.data, is_smoke=options.smoke)
    size_px = ImageDataset(data).resolution_px
    torch.backends.cudnn.benchmark = True
    for name, side in sides(options, size_px).items():
        if name not in rows.rows and trained(name, side, data, options, rows):
            rows.ends = max(rows.ends, time.monotonic() + 60)  # scores do not wait for the next call
            rows.measure(name, partial(scored, name, side, data, options, size_px))
    rows.print(["fid", "eqt", "img_per_s", "minutes", "peak_gib", "kimg"])


if __name__ == "__main__":
    main()
