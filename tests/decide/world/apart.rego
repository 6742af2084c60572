# What the embedded engine decides otherwise than OPA; the list of known differences has why.
package apart

product := 1.1 * 3

sum := 0.1 + 0.2

sharp := upper("ß")

f(x) := x + 1

without_members[type] contains action if {
	some action in []
	type := "document"
}
