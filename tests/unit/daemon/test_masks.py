"""What a container's default masks add of this machine."""

from __future__ import annotations

from pathlib import Path

from gitopsd.engine.daemon.lifecycle import thermal_folders


def test_each_processors_thermal_counters_are_named_as_the_container_sees_them(tmp_path: Path) -> None:
    for name in ("cpu0/thermal_throttle", "cpu11/thermal_throttle", "cpu2", "cpufreq/thermal_throttle"):
        (tmp_path / "devices/system/cpu" / name).mkdir(parents=True)
    assert thermal_folders(str(tmp_path)) == [
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
        "/sys/devices/system/cpu/cpu11/thermal_throttle",
    ]


def test_a_machine_without_them_has_none(tmp_path: Path) -> None:
    assert thermal_folders(str(tmp_path)) == []
