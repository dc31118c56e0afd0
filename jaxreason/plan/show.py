"""A plan in lines that a terminal shows."""

TOLERANCE = 0.02
"""Two counts of the FLOPs farther apart than this mean a product that several devices repeat."""
WIDTHS = {"fits": 6, "all": 8, "beside": 8, "arguments": 11, "temporary": 11, "PFLOP": 9, "calls": 7, "bound s": 9}
MEANING = (
    "GiB a device; beside: what a run holds meanwhile and the program is not given, such as the optimiser",
    "PFLOP of matrix products and attention, of all devices, a call with its loops run to their limits; calls a step",
    "seconds of a call are a lower bound and MFU, without what is computed twice, an upper one: predictions from what "
    "was compiled, not measurements",
)


def lines(found: dict) -> list[str]:
    """What `plan` returns, a line a fact."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in found["mesh"].items())
    slices = f" x {found['slices']} slices" if found["slices"] > 1 else ""
    result = [
        f"{found['topology']}{slices}: {found['devices']} devices of {found['memory_gib']:g} GiB, mesh {mesh}, "
        f"compiled by libtpu {found['libtpu']}",
        f"{'program':16}" + "".join(f"{name:>{width}}" for name, width in WIDTHS.items()) + f"{'MFU <':>7}",
    ]
    for program in found["programs"]:
        result += _program(program)
    return [*result, *_step(found), *MEANING]


def _step(found: dict) -> list[str]:
    """Slots and pages, and what a step takes at least."""
    pages = f"{found['pages']} pages" if found["pages"] else "pages to reach the limit"
    result = [f"reasoner: {found['slots']} slots, {pages}"]
    seconds = {program["name"]: program["bound_s"] for program in found["programs"]}
    if None not in seconds.values():
        calls = {program["name"]: program["calls"] for program in found["programs"]}
        step = sum(seconds[name] * calls[name] for name in seconds)
        drawn = sum(seconds[name] * calls[name] for name in seconds if name.startswith("sample"))
        mean = found["mean_length"]
        what = "all completions at the limit" if mean is None else f"completions of {mean:.0f} tokens on average"
        result.append(f"a step with {what}: at least {step:.3g} s, sampling {drawn:.3g} s of it")
    return result


def search_lines(found: dict) -> list[str]:
    """What `search` returns: the plan proposed and its settings, or the one that came nearest."""
    tried = found["tried"]
    if found["settings"] is None:
        return [
            *lines(tried[-1]),
            f"none of {len(tried)} arrangements fits; try a larger slice, shorter completions, fewer "
            "sampling.slots or a smaller model.logp_chunk",
        ]
    settings = " ".join(f"--{name}={value}".lower() for name, value in found["settings"].items())
    return [*lines(tried[-1]), f"fits, after {len(tried)} tried: {settings}"]


def _program(program: dict) -> list[str]:
    if program["peak_gib"] is None:
        return [f"{program['name']:16}{'no':>6}  {program['reason']}"]
    cells = [
        "yes" if program["fits"] else "no",
        f"{program['peak_gib'] + program['beside_gib']:.2f}",
        f"{program['beside_gib']:.2f}",
        f"{program['arguments_gib']:.2f}",
        f"{program['temporaries_gib']:.2f}",
        f"{program['flops'] / 1e15:.3g}",
        str(program["calls"]),
        f"{program['bound_s']:.3g}",
    ]
    row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS.values(), strict=True))
    times = ", ".join(f"{part} {program[f'{part}_s']:.3g} s" for part in ("matmul", "memory", "links"))
    sent = [f"{kind} {size / 1e9:.3g} GB in {count:.0f}" for kind, (count, size) in program["collectives"].items()]
    buffers = ", ".join(f"{gib:.2g} {held}" for gib, held in program["largest"])
    said = [f"{times}; {', '.join(sent) or 'no collectives'}", f"largest: {buffers or 'not said'}"]
    if program["state_aliased"] is False:
        said.append("the state is held twice: its donation was refused")
    said += [warning] if (warning := repeated(program)) else []
    return [f"{program['name']:16}{row}{program['mfu']:7.2f}", *(f"{'':16}  {line}" for line in said)]


def repeated(program: dict) -> str:
    """A warning where the compiled program makes more products than the traced one, or fewer."""
    traced, compiled = program["flops"], program["flops_compiled"]
    if not traced or compiled is None or abs(compiled / traced - 1) <= TOLERANCE:
        return ""
    share = f"compiled for all devices together are {compiled / traced:.1%} of the FLOPs traced"
    if compiled > traced:
        return f"{share}: several devices repeat some product"
    return f"{share}: the rest is made without the matrix unit, or in kernels"
