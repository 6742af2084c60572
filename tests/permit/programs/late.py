"""The agent does not get what was written: who wants to know is told, and the fact is stored."""

import inspect

from common import data, run, sdk
from permit.exceptions import PermitApiError


async def main():
    permit = sdk()
    if "policy" in inspect.signature(permit.wait_for_sync).parameters:
        waiting = permit.wait_for_sync(timeout=1, policy="fail")
    else:
        # SDK 2 can only say for how long.
        waiting = permit.wait_for_sync(timeout=1)
    with waiting as p:
        try:
            made = await p.api.users.sync({"key": "late"})
            assert made.key == "late"
            print("answered")
        except PermitApiError as error:
            assert error.status_code == 424, error
            print("failed")
        assert (await p.api.users.get("late")).key == "late"
    assert "late" not in data("users")


run(main)
