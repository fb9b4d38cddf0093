"""How fast GPUs multiply at most, by their vendors' data sheets."""

#: What a device's name holds -> dense TFLOP/s in bf16 with sums in fp32; in fp16 where there is no bf16 (V100, T4).
#: The first that fits counts.
PEAK_TFLOPS = {
    'B200': 2250.0,
    'H100 NVL': 835.0,
    'H100 PCIe': 756.0,
    'H100': 989.0,
    'H200': 989.0,
    'H800': 989.0,
    'GH200': 989.0,
    'A100': 312.0,
    'A800': 312.0,
    'L40S': 362.0,
    'L40': 181.0,
    'L4': 121.0,
    'A40': 150.0,
    'A30': 165.0,
    'A10': 125.0,
    'V100': 125.0,
    'T4': 65.0,
    'RTX 4090': 165.0,
    'RTX 3090': 71.0,
    'MI325X': 1307.0,
    'MI300X': 1307.0,
    'MI250X': 383.0,
}


def peak_tflops(device_name: str) -> float | None:
    """The peak of a device in TFLOP/s, or None for one that is not listed.

    Args:
        device_name: As ``torch.cuda.get_device_name`` gives it: 'NVIDIA H100 80GB HBM3'.
    """
    words = device_name.replace('-', ' ').split()
    if 'Laptop' in words:
        return None  # slower by a factor that depends on the laptop
    for name, peak in PEAK_TFLOPS.items():
        if all(word in words for word in name.split()):  # as words: an 'A10' is no 'A100'
            return peak
    return None
