"""What the operations of a compiled training step are for, read off its HLO text.

kinds = operations(compiled.as_text())
kinds["ynn_fusion.286"].part   # "products"
"""

import dataclasses
import math
import re
from collections.abc import Mapping

# Operations that run others, whose time is that of the others.
CALLERS = {"call", "while", "conditional"}
# The first that fits decides: names of JAX operations are paths of modules and scopes.
_PARTS = (
    ("optimizer", re.compile(r"^jit\(train_step\)/(?!.*(jvp|transpose)\(|.*Block/)")),
    ("normalisation", re.compile(r"norm/")),
    ("biases", re.compile(r"/(query|key|value|out|up|down)/")),
    ("attention", re.compile(r"/attention/")),
    ("activation", re.compile(r"/feed_forward/")),
    ("loss", re.compile(r"logits|jvp\(\)/|/head/")),
    ("residuals", re.compile(r"/Block/add|_positioned|hidden\)/(gather|add)|scatter")),
)
# Names that XLA gives to fusions of operations that compute nothing.
_MOVES = {"copy", "transpose", "bitcast", "slice", "wrapped", "concatenate", "reshape", "pad"}
_MOVES |= {"dynamic", "update", "fusion", "broadcast", "convert", "reverse", "gather"}
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product: rows x contracted x columns, as often as it stands in a batch."""

    batch: int
    rows: int
    contracted: int
    columns: int
    role: str  # "forward", "input gradient" or "kernel gradient"

    @property
    def flop(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.rows * self.contracted * self.columns

    @property
    def name(self) -> str:
        """Sizes and role, in words."""
        return f"{self.role} [{self.rows},{self.contracted}] x [{self.contracted},{self.columns}]"


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction of the program.

    Attributes:
      part: of the step, such as "attention"; "products" are those of kernels and tables.
      product: which one, where it is one of these.
      calls: whether it only runs other operations.
    """

    part: str
    product: Product | None = None
    calls: bool = False


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    shape: tuple[int, ...]
    opcode: str
    rest: str  # operands and attributes
    source: str  # the name of the JAX operation that it comes from


def operations(text: str, tokens: int) -> dict[str, Operation]:
    """The instructions of an optimised module by name, those inside of fusions left out.

    Args:
      text: as `jax.stages.Compiled.as_text` prints it.
      tokens: of a step, over which the gradients of kernels are sums.
    """
    computations = _computations(text)
    fused = {
        called
        for instructions in computations.values()
        for instruction in instructions.values()
        if instruction.opcode == "fusion"
        for called in re.findall(r"calls=%([\w.\-]+)", instruction.rest)
    }
    found = {}
    for name, instructions in computations.items():
        if name not in fused:
            for instruction in instructions.values():
                found[instruction.name] = _operation(
                    instruction, instructions, computations, tokens
                )
    return found


def _computations(text: str) -> dict[str, dict[str, _Instruction]]:
    computations: dict[str, dict[str, _Instruction]] = {}
    current: dict[str, _Instruction] = {}
    for line in text.splitlines():
        if opened := _COMPUTATION.match(line):
            current = computations.setdefault(opened[1], {})
        elif found := _INSTRUCTION.match(line):
            name, shape, opcode, rest = found.groups()
            sizes = re.search(r"\[([\d,]*)\]", shape)
            source = _OP_NAME.search(rest)
            current[name] = _Instruction(
                name,
                tuple(int(size) for size in sizes[1].split(",") if size) if sizes else (),
                opcode,
                rest,
                source[1] if source else "",
            )
    return computations


def _operation(
    instruction: _Instruction,
    beside: Mapping[str, _Instruction],
    computations: Mapping[str, Mapping[str, _Instruction]],
    tokens: int,
) -> Operation:
    if instruction.opcode in CALLERS:
        return Operation("other", calls=True)
    inside: Mapping[str, _Instruction] = beside
    dots = [instruction] if instruction.opcode == "dot" else []
    if called := re.search(r"calls=%([\w.\-]+)", instruction.rest):
        inside = computations[called[1]]
        dots = [each for each in inside.values() if each.opcode == "dot"]
    products = [_product(dot, inside, tokens) for dot in dots]
    if len(products) == 1 and products[0].batch == 1:
        return Operation("products", products[0])
    if not products and set(re.split(r"[_\-]", instruction.name.partition(".")[0])) <= _MOVES:
        return Operation("copies")
    sources = [instruction.source]
    if inside is not beside:
        sources += [each.source for each in inside.values()]
    named = [part for source in sources for part, names in _PARTS if names.search(source)]
    return Operation(named[0] if named else "other")


def _product(dot: _Instruction, beside: Mapping[str, _Instruction], tokens: int) -> Product:
    def axes(name: str) -> list[int]:
        listed = re.search(rf"{name}={{([\d,]*)}}", dot.rest)
        return [int(axis) for axis in listed[1].split(",")] if listed else []

    batch, contracted = axes("lhs_batch_dims"), axes("lhs_contracting_dims")
    left = beside[dot.rest.partition("%")[2].partition(",")[0].partition(")")[0]].shape
    times, inner = (math.prod(left[axis] for axis in some) for some in (batch, contracted))
    rows = math.prod(left) // (times * inner)
    role = "forward"
    if "transpose(" in dot.source:
        role = "kernel gradient" if inner == tokens else "input gradient"
    return Product(times, rows, inner, math.prod(dot.shape) // (times * rows), role)
