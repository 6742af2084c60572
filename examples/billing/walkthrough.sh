#!/bin/sh
# The billing example by hand: what `cargo xtask demo` does, as commands to read and change.
#
# With the demo running in another terminal, source the file that it names, then run this:
#   . /tmp/girasol-demo-…/env
#   examples/billing/walkthrough.sh
# README.md beside this file says how to start the parts yourself instead, with `cargo xtask dev`.
set -eu

: "${GIRASOL_URL:?is not set: source the env file that the demo (or dev) names}"
: "${EDGE_AGENT:=edge-agent}"
# Where the parts listen when they are started by hand, without options.
: "${BILLING_URL:=http://127.0.0.1:7100}"
: "${DECISION_URL:=http://127.0.0.1:8181}"
: "${AGENT_URL:=http://127.0.0.1:7766}"

say() { printf '\n# %s\n' "$1"; }

# May acme come in? OPA's own API; the answer is {"result":true} or {"result":false}.
decision() {
    curl -fsS "$DECISION_URL/v1/data/app/allow" \
        -H 'Content-Type: application/json' -d '{"input":{"customer":"acme"}}'
}

# What the billing service's own users do. Girasol does not see it.
set_billing() {
    curl -fsS -X PUT "$BILLING_URL/billing/acme" \
        -H 'Content-Type: application/json' -d "{\"enabled\":$1}"
}

# Only a datasource token may publish. `dev` leaves the master token in its env file, and with it
# anybody can mint one; the demo leaves a ready token.
if [ -z "${TOKEN:-}" ]; then
    say 'Mint a datasource token with the master token'
    : "${MASTER_TOKEN:?is not set, and TOKEN is not either: source the env file}"
    TOKEN=$("$EDGE_AGENT" obtain-token "$MASTER_TOKEN" \
        --server-url "$GIRASOL_URL" --type datasource --just-the-token)
fi

# "The billing data has changed: whoever subscribes to `billing`, fetch it from there to /billing."
# The same with curl:
#   curl "$GIRASOL_URL/data/config" -H "Authorization: Bearer $TOKEN" \
#     -H 'Content-Type: application/json' -d '{"entries":[
#       {"url":"'"$BILLING_URL"'/billing","topics":["billing"],"dst_path":"/billing"}]}'
publish() {
    answer=$("$EDGE_AGENT" publish-data-update "$TOKEN" --server-url "$GIRASOL_URL" \
        --src-url "$BILLING_URL/billing" -t billing --dst-path /billing --reason 'billing changed')
    echo "$answer"
    wait_for_agent "$(echo "$answer" | sed -n 's/.*"seq":\([0-9]*\).*/\1/p')"
}

# The hub has numbered the update. Once the agent's cursor is there, its engine decides by it,
# which takes some milliseconds.
wait_for_agent() {
    for _ in $(seq 200); do
        cursor=$(curl -fsS "$AGENT_URL/status" | sed -n 's/.*"cursor":\([0-9]*\).*/\1/p')
        if [ "${cursor:-0}" -ge "$1" ]; then return; fi
        sleep 0.05
    done
    echo "the agent has not applied seq $1; $AGENT_URL/status says why" >&2
    exit 1
}

say 'Disable billing for acme, and tell the agents'
set_billing false
publish
decision

say 'Enable it. The decision stays: nobody has told the agents'
set_billing true
decision

say 'Publish. The agent fetches, and the decision changes'
publish
decision

say 'The agent: what it is connected to, and how far it is'
curl -fsS "$AGENT_URL/status"
echo
