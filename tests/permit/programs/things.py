"""Everything that the SDK can write, and that the agent's engine has it when the call returns."""

import contextlib

from common import data, run, sdk
from permit.exceptions import PermitApiError


@contextlib.asynccontextmanager
async def refused(status: int):
    try:
        yield
    except PermitApiError as error:
        assert error.status_code == status, error
    else:
        raise AssertionError(f"not refused with {status}")


async def main():
    with sdk().wait_for_sync(timeout=15) as permit:
        api = permit.api

        made = await api.users.create({"key": "ann", "email": "ann@example.com"})
        assert data("users/ann") is not None and str(made.id), made
        async with refused(409):
            await api.users.create({"key": "ann"})
        await api.users.update("ann", {"attributes": {"floor": 3}})
        assert data("users/ann")["attributes"]["floor"] == 3
        seen = await api.users.get("ann")
        assert seen.id == made.id and seen.attributes == {"floor": 3}, seen
        assert (await api.users.list()).total_count == 1

        await api.tenants.create({"key": "acme", "name": "Acme"})
        await api.tenants.update("acme", {"attributes": {"tier": "gold"}})
        assert data("tenants/acme")["attributes"]["tier"] == "gold"
        assert "acme" in [tenant.key for tenant in await api.tenants.list()]

        role = {"user": "ann", "role": "editor", "tenant": "acme"}
        given = await api.users.assign_role(role)
        assert (given.user, given.role, given.tenant) == ("ann", "editor", "acme"), given
        assert data("users/ann")["roleAssignments"] == {"acme": ["editor"]}
        assert data("role_assignments/user:ann") == {"__tenant:acme": ["editor"]}
        assert [it.role for it in await api.users.get_assigned_roles("ann")] == ["editor"]
        await api.users.unassign_role(role)
        assert not data("users/ann").get("roleAssignments")

        one = await api.resource_instances.create(
            {"resource": "folder", "key": "f1", "tenant": "acme", "attributes": {"secret": True}}
        )
        assert (one.resource, one.key) == ("folder", "f1"), one
        await api.resource_instances.create({"resource": "document", "key": "d1", "tenant": "acme"})
        await api.resource_instances.update("folder:f1", {"attributes": {"secret": False}})
        assert data("resource_instances")["folder:f1"]["attributes"] == {"secret": False}
        assert data("resource_instances")["document:d1"]["tenant"] == "acme"

        owner = {"user": "ann", "role": "owner", "resource_instance": "folder:f1"}
        await api.role_assignments.assign({**owner, "tenant": "acme"})
        assert data("role_assignments/user:ann")["folder:f1"] == ["owner"]
        await api.role_assignments.unassign({**owner, "tenant": "acme"})
        assert "folder:f1" not in data("role_assignments").get("user:ann", {})

        tie = {"subject": "folder:f1", "relation": "parent", "object": "document:d1"}
        made = await api.relationship_tuples.create(tie)
        assert (made.subject, made.object) == ("folder:f1", "document:d1"), made
        assert data("relationships")["document:d1"] == {"parent": {"folder": ["f1"]}}
        await api.relationship_tuples.delete(tie)
        assert "parent" not in data("relationships").get("document:d1", {})

        await api.resource_instances.delete("document:d1")
        assert "document:d1" not in data("resource_instances")
        await api.tenants.delete("acme")
        assert "acme" not in data("tenants") and "folder:f1" not in data("resource_instances")
        await api.users.delete("ann")
        assert "ann" not in data("users")
        async with refused(404):
            await api.users.get("ann")


run(main)
