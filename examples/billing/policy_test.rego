# Run with: opa test examples/billing/policy examples/billing/policy_test.rego
package app_test

import data.app
import rego.v1

billing := {"acme": {"enabled": false}, "umbrella": {"enabled": true}}

test_allowed_when_enabled if app.allow with input as {"customer": "umbrella"} with data.billing as billing

test_denied_when_disabled if not app.allow with input as {"customer": "acme"} with data.billing as billing

test_denied_when_unknown if not app.allow with input as {"customer": "nobody"} with data.billing as billing

test_denied_before_any_data if not app.allow with input as {"customer": "umbrella"}
