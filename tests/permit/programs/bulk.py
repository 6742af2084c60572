"""A thousand users in one call: all are there when it returns, and all are gone after another."""

from common import data, run, sdk
from permit.api.models import UserCreate

COUNT = 1_000


async def main():
    with sdk().wait_for_sync(timeout=60) as permit:
        keys = [f"user-{at}" for at in range(COUNT)]
        await permit.api.users.bulk_create([UserCreate(key=key) for key in keys])
        assert set(data("users")) == set(keys)
        roles = [{"user": key, "role": "viewer", "tenant": "default"} for key in keys[:500]]
        await permit.api.role_assignments.bulk_assign(roles)
        assert set(data("role_assignments")) == {f"user:{key}" for key in keys[:500]}
        await permit.api.role_assignments.bulk_unassign(roles)
        left = data("role_assignments")
        assert not any(left.values()), (len(left), list(left.items())[:3])
        await permit.api.users.bulk_delete(keys)
        assert data("users") == {}


run(main)
