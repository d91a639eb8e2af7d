"""Long runs that go on where they stopped: functions, generators, steps and maps."""
