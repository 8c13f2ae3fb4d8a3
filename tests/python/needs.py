"""What a test does where something that it needs was not installed."""
import os
import sys


def give_up(reason):
    """Ends the test: skipped (status 77), or failed (1) with TENON_REQUIRE_PYTHON=1."""
    required = os.environ.get("TENON_REQUIRE_PYTHON") == "1"
    print(f"{'failed' if required else 'skipped'}: {reason}; scripts/setup_python.sh and scripts/setup.sh test install it")
    sys.exit(1 if required else 77)
