"""Which options of FFmpeg's AAC coder: CPU against sound quality, on speech and music made here.

For each candidate: CPU-seconds per stream-second of encoding alone (one AudioFrame a second, as the
recorder does), segmental SNR (20 ms segments, clipped to -10..35 dB, silence left out) and log-spectral
distance (dB, 1024-point spectra) of the decoded sound against the source. Seeded.
"""

from __future__ import annotations

import time
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

RATE, SECONDS = 48_000, 30
Sound = NDArray[np.float32]  # (channels, samples), -1..1

CHEAP = {"aac_coder": "fast", "aac_tns": "0", "aac_pns": "0", "aac_is": "0", "aac_ms": "0"}
CANDIDATES: dict[str, dict[str, str]] = {
    "default (twoloop)": {},
    "twoloop, tools off": {"aac_tns": "0", "aac_pns": "0", "aac_is": "0", "aac_ms": "0"},
    "fast": {"aac_coder": "fast"},
    "fast, tools off": CHEAP,
    "fast, tools off, mid/side on": {**CHEAP, "aac_ms": "1"},
    "fast, tools off, pns on": {**CHEAP, "aac_pns": "1"},
    "fast, tools off, intensity on": {**CHEAP, "aac_is": "1"},
    "fast, mid/side and intensity on": {**CHEAP, "aac_ms": "1", "aac_is": "1"},
    "fast, mid/side and pns on": {**CHEAP, "aac_ms": "1", "aac_pns": "1"},
    "fast, tools off, cutoff 16 kHz": {**CHEAP, "cutoff": "16000"},
}


def speech(rng: np.random.Generator) -> Sound:
    """Speech-like: a glottal pulse train of moving pitch through moving formants, with pauses and fricatives."""
    n = RATE * SECONDS
    at = np.arange(n) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.4 * at) + 10 * np.sin(2 * np.pi * 3.1 * at)
    phase = np.cumsum(pitch) / RATE
    source = ((phase % 1.0) < 0.1).astype(np.float64) - 0.1
    spectrum_out = np.zeros(n)
    hop, size = 480, 1920
    window = np.hanning(size)
    for start in range(0, n - size, hop):
        t = start / RATE
        voiced = (t * 3.3) % 1.0
        block = source[start : start + size] if voiced < 0.65 else rng.normal(0, 0.3, size) if voiced < 0.8 else np.zeros(size)
        freqs = np.fft.rfftfreq(size, 1 / RATE)
        gain = np.zeros_like(freqs)
        formants = ((500 + 250 * np.sin(5.1 * t), 80), (1500 + 600 * np.sin(3.7 * t), 120), (2600 + 200 * np.sin(2.3 * t), 180))
        if voiced >= 0.65:
            formants = ((5200 + 800 * np.sin(7 * t), 1200),)  # type: ignore[assignment]
        for centre, width in formants:
            gain += 1 / (1 + ((freqs - centre) / width) ** 2)
        spectrum_out[start : start + size] += np.fft.irfft(np.fft.rfft(block * window) * gain, size) * window
    mono = (spectrum_out / np.abs(spectrum_out).max() * 0.6).astype(np.float32)
    return np.stack([mono, mono])


def music(rng: np.random.Generator) -> Sound:
    """Music-like: chords of plucked harmonic tones spread over the stereo field, and noise-burst percussion."""
    n = RATE * SECONDS
    left, right = np.zeros(n), np.zeros(n)
    scale = 220 * 2 ** (np.array([0, 3, 5, 7, 10, 12, 15, 17]) / 12)
    for beat in range(SECONDS * 4):
        start = beat * RATE // 4
        length = min(RATE, n - start)
        at = np.arange(length) / RATE
        for tone in rng.choice(scale, 3, replace=False):
            sound = sum(np.sin(2 * np.pi * tone * k * at) * np.exp(-at * (2 + k)) / k for k in range(1, 9))
            pan = rng.uniform(0.1, 0.9)
            left[start : start + length] += sound * (1 - pan)
            right[start : start + length] += sound * pan
        burst = rng.normal(0, 1, length) * np.exp(-at * 40)
        left[start : start + length] += burst * 0.4
        right[start : start + length] += burst * 0.4
    both = np.stack([left, right])
    return (both / np.abs(both).max() * 0.7).astype(np.float32)


def code(sound: Sound, options: dict[str, str], bps: int) -> tuple[Sound, float, float]:
    """Encode and decode; returns the sound on the source's time line, CPU-s per second, real bit/s."""
    coder = av.CodecContext.create("aac", "w")
    coder.sample_rate, coder.layout, coder.format, coder.bit_rate = RATE, "stereo", "fltp", bps
    coder.time_base = Fraction(1, RATE)
    coder.options = options
    packets = []
    before = time.process_time()
    step = 1024 * 47
    for start in range(0, sound.shape[1], step):
        chunk = np.ascontiguousarray(sound[:, start : start + step])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        packets += coder.encode(frame)
    packets += coder.encode(None)
    used = time.process_time() - before
    real_bps = 8 * sum(p.size for p in packets) / (sound.shape[1] / RATE)
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = coder.extradata
    decoder.sample_rate, decoder.layout = RATE, "stereo"
    out = np.concatenate([f.to_ndarray() for p in packets for f in decoder.decode(p)], axis=1)
    return out[:, 1024 : 1024 + sound.shape[1]], used / (sound.shape[1] / RATE), real_bps


def segmental_snr_db(source: Sound, coded: Sound) -> float:
    size = RATE // 50
    n = min(source.shape[1], coded.shape[1]) // size * size
    a = source[:, :n].reshape(2, -1, size)
    e = (source[:, :n] - coded[:, :n]).reshape(2, -1, size)
    power, noise = (a**2).mean(axis=2), (e**2).mean(axis=2)
    loud = power > 1e-5
    return float(np.clip(10 * np.log10(power[loud] / (noise[loud] + 1e-12)), -10, 35).mean())


def log_spectral_distance_db(source: Sound, coded: Sound) -> float:
    size, hop = 1024, 512
    n = min(source.shape[1], coded.shape[1])
    window = np.hanning(size)
    total, count = 0.0, 0
    for start in range(0, n - size, hop):
        a = np.abs(np.fft.rfft(source[:, start : start + size] * window)) ** 2
        if a.mean() < 1e-4:
            continue
        b = np.abs(np.fft.rfft(coded[:, start : start + size] * window)) ** 2
        band = slice(2, size * 12_000 // RATE)  # up to 12 kHz: above, a low rate codes nothing on purpose
        floor = a.max() * 1e-6
        total += float(np.sqrt(np.mean((10 * np.log10((a[:, band] + floor) / (b[:, band] + floor))) ** 2)))
        count += 1
    return total / count


def main() -> None:
    rng = np.random.default_rng(11)
    sources = {"speech": speech(rng), "music": music(rng)}
    print(f"{'options, 64 kb/s stereo 48 kHz':<34}{'CPU %':>7}" + "".join(f"{n + ' segSNR':>15}{'LSD':>7}{'kb/s':>6}" for n in sources))
    for name, options in CANDIDATES.items():
        cells, cpu = "", []
        for sound in sources.values():
            coded, used, real_bps = code(sound, options, 64_000)
            cpu.append(used)
            cells += f"{segmental_snr_db(sound, coded):15.2f}{log_spectral_distance_db(sound, coded):7.2f}{real_bps / 1000:6.0f}"
        print(f"{name:<34}{100 * float(np.mean(cpu)):7.3f}{cells}")


if __name__ == "__main__":
    main()
