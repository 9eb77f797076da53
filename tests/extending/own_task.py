"""A task of one's own."""

from gesso import Protocol, Task
from gesso.degradations.low_light import LowLight

LAMPS = Task("lamps", "brighten rooms", Protocol(channel="y"), LowLight(exposure=(0.3, 0.6)), loss="charbonnier")
