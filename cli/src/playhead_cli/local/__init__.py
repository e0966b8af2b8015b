"""The whole system on this machine: embedded servers, and the services as processes beside them."""
