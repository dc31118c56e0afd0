"""A plan in lines that a terminal shows."""

TOLERANCE = 0.02
"""Two counts of the FLOPs farther apart than this mean a product that several devices repeat."""


def lines(found: dict) -> list[str]:
    """What `plan` returns, a line a fact."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in found["mesh"].items())
    slices = f" x {found['slices']} slices" if found["slices"] > 1 else ""
    result = [
        f"{found['topology']}{slices}: {found['devices']} devices of {found['memory_gib']:g} GiB, mesh {mesh}, "
        f"compiled by libtpu {found['libtpu']}",
        f"{'program':16}{'fits':>6}{'peak':>9}{'arguments':>11}{'temporary':>11}{'PFLOP':>9}{'calls':>7}{'bound s':>9}{'MFU <':>7}",
    ]
    for program in found["programs"]:
        if program["peak_gib"] is None:
            result.append(f"{program['name']:16}{'no':>6}  {program['reason']}")
            continue
        result.append(
            f"{program['name']:16}{'yes' if program['fits'] else 'no':>6}{program['peak_gib']:9.2f}"
            f"{program['arguments_gib']:11.2f}{program['temporaries_gib']:11.2f}{program['flops'] / 1e15:9.3g}"
            f"{program['calls']:7}{program['bound_s']:9.3g}{program['mfu']:7.2f}"
        )
        times = ", ".join(f"{part} {program[f'{part}_s']:.3g} s" for part in ("matmul", "memory", "links"))
        sent = [f"{kind} {size / 1e9:.3g} GB in {count:.0f}" for kind, (count, size) in program["collectives"].items()]
        result.append(f"{'':16}  {times}; {', '.join(sent) or 'no collectives'}")
        buffers = ", ".join(f"{gib:.2g} {held}" for gib, held in program["largest"])
        result.append(f"{'':16}  largest: {buffers or 'not said'}")
        if program["state_aliased"] is False:
            result.append(f"{'':16}  the state is held twice: its donation was refused")
        if warning := repeated(program):
            result.append(f"{'':16}  {warning}")
    result.append(
        "GiB a device. PFLOP of matrix products and attention, all devices, a call with all loops run to their limits; "
        "calls a step at most. Seconds of a call are a compile-time lower bound and MFU (without what is computed twice) "
        "an upper one: predictions, not measurements"
    )
    return result


def repeated(program: dict) -> str:
    """A warning where the compiled program makes more products than the traced one, or fewer."""
    traced, compiled = program["flops"], program["flops_compiled"]
    if not traced or compiled is None or abs(compiled / traced - 1) <= TOLERANCE:
        return ""
    share = f"compiled for all devices together are {compiled / traced:.1%} of the FLOPs traced"
    if compiled > traced:
        return f"{share}: several devices repeat some product"
    return f"{share}: the rest is made without the matrix unit, or in kernels"
