"""The courier carries facts between executions."""

from playhead_projector.courier.courier import Courier, CourierBehind, CourierStopped

__all__ = ["Courier", "CourierBehind", "CourierStopped"]
