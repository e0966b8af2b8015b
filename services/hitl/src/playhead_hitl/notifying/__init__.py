"""Telling people about pauses by webhooks, at least once, and never of what is not in the log.

Three loops, each of which may be killed between any two steps:

- The *notifier* follows the log. For each event that webhooks are told of it makes one delivery for each of them, whose
  id follows from the event and the webhook. Deliveries and checkpoint are one transaction, so none is lost and none is
  made twice. One notifier works, the holder of an advisory lock.
- The *sender* takes what is due, posts it, and notes what came of it. Any number of senders share the deliveries: each
  is taken by one, under a claim that ends by itself. A sender that dies after the receiver has answered leaves the
  delivery to be sent again, with the same `webhook-id`, by which receivers know it.
- What became of a delivery is written in the transaction that ends it, and from there the *teller* brings it into the
  log, as `pause.notified`. The id of that event follows from the delivery, so a repeat finds it there.

Wake-ups travel by NOTIFY, and every loop also looks by itself, so a lost one costs time and nothing else.
"""

from playhead_hitl.notifying.running import notifying

__all__ = ["notifying"]
