"""What each optimizer remembers of a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Model
from simulator.memory.tensors import Tensor
from simulator.memory.weights import on_one_gpu

if TYPE_CHECKING:
    from simulator.memory.training.bytes import Training

Optimizer = Literal[
    "adamw",
    "adamw-8bit",
    "paged-adamw",
    "paged-adamw-8bit",
    "lion",
    "lion-8bit",
    "paged-lion",
    "paged-lion-8bit",
    "muon",
    "adafactor",
    "sgd",
    "sgd-momentum",
]

EIGHT_BIT_BYTES = 1 + 4 / 256  # blocks of 256 with a scale in FP32, bitsandbytes; Dettmers et al., arXiv:2110.02861


@dataclass(frozen=True, slots=True)
class States:
    """How many values of a weight's size an optimizer keeps; in 8 bits; `paged`: in memory that the host lends."""

    values: int
    eight_bit: bool = False
    paged: bool = False


# Lion keeps one moment, Chen et al., arXiv:2302.06675. Paged: NVIDIA unified memory, QLoRA, arXiv:2305.14314, section 3.
# Muon keeps a momentum of matrices, and leaves tables and vectors to AdamW, https://kellerjordan.github.io/posts/muon/.
OPTIMIZERS: dict[Optimizer, States] = {
    "adamw": States(2),
    "adamw-8bit": States(2, eight_bit=True),
    "paged-adamw": States(2, paged=True),
    "paged-adamw-8bit": States(2, eight_bit=True, paged=True),
    "lion": States(1),
    "lion-8bit": States(1, eight_bit=True),
    "paged-lion": States(1, paged=True),
    "paged-lion-8bit": States(1, eight_bit=True, paged=True),
    "muon": States(1),
    "adafactor": States(0),
    "sgd": States(0),
    "sgd-momentum": States(1),
}


def optimizer_bytes(
    optimizer: Optimizer, model: Model, here: list[Tensor], args: EngineArgs, trained: float, training: Training
) -> float:
    """Bytes of optimizer states of `trained` parameters, in FP32, in 8 bits, or in the 16 bits of a run in bf16 throughout.

    Adafactor keeps a row and a column of second moments for each matrix, and no first moment: Shazeer and Stern,
    arXiv:1804.04235.
    """
    adapted = training.method != "full"
    full = 2 if training.precision == "bf16" and not (adapted and training.fp32_adapters) else 4
    states = OPTIMIZERS[optimizer]
    if states.eight_bit:
        return states.values * EIGHT_BIT_BYTES * trained
    if optimizer == "adafactor":
        if adapted:
            return full * trained / training.lora_rank
        return full * sum(_factored(tensor, model.hidden, on_one_gpu(tensor, args)) for tensor in here)
    by_adamw = 0.0
    if optimizer == "muon" and not adapted:
        by_adamw = sum(on_one_gpu(tensor, args) for tensor in here if tensor.group in ("embedding", "lm_head", "norm"))
    return full * (states.values * trained + by_adamw)


def _factored(tensor: Tensor, hidden: int, held: float) -> float:
    """Rows plus columns of a tensor's matrices, of which one side is about the hidden size; vectors are kept whole."""
    if tensor.group == "norm":
        return held
    matrices = 3 * tensor.units if tensor.split == "experts" else 1
    return min(held, held / hidden + matrices * hidden)
