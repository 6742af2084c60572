"""Keys that are no plain words: what comes back is what was sent, and nothing nests."""

from common import data, run, sdk

KEYS = ["auth0|elon", "a b", "äöü-名前", "user@example.com", "a+b", "~0~1", "plain"]


async def main():
    with sdk().wait_for_sync(timeout=15) as permit:
        for key in KEYS:
            made = await permit.api.users.sync({"key": key, "attributes": {"is": key}})
            assert made.key == key, made
            assert (await permit.api.users.get(key)).key == key
        users = data("users")
        assert set(users) == set(KEYS), users
        for key, user in users.items():
            assert user["attributes"]["is"] == key, user


run(main)
