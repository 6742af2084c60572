"""A fetcher for SQLite, which the agent runs as `exec:sqlite`: entry in, rows out.

{"url": "sqlite:///var/lib/app/app.db", "config": {"fetcher": "exec:sqlite", "query": "SELECT …"}}
"""
import json, sqlite3, sys

entry = json.load(sys.stdin)
config = entry["config"]
if not isinstance(config.get("query"), str):
    print("config.query: give an SQL query", file=sys.stderr)
    sys.exit(78)  # EX_CONFIG: another try would not help, every other code is tried again
path = entry["url"].removeprefix("sqlite://")
database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
database.row_factory = sqlite3.Row
json.dump([dict(row) for row in database.execute(config["query"])], sys.stdout)
