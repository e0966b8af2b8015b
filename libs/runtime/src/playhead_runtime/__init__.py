"""What every service needs to live: settings, the bus, health, embedded servers."""
