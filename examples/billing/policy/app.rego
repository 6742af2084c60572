# Who may use the application: customers whose billing is enabled.
#
# data.billing is what the billing service answers, put there by the edge agent:
#   {"acme": {"enabled": false, "plan": "free"}, …}
package app

import rego.v1

# Also the answer while data.billing is not there yet, and for customers nobody knows.
default allow := false

allow if data.billing[input.customer].enabled
