package texts

html := "<a href='x'>&amp;</a>"

separators := "\u2028\u2029"

unicode := "čeština 🌻 \u0001\t\n\"\\/"

raw := `back\slash`

joined := concat(", ", ["a", "b"])

formatted := sprintf("%s has %d of %v, %.2f", ["ann", 3, {"k": [1]}, 1.5])

upper_ := upper("strasse é")

parts := split("a.b.c", ".")

has if contains(input.name, "an")

begins if startswith(input.name, "a")

matched if regex.match(`^a.+$`, input.name)

replaced := replace("banana", "an", "AN")

piece := substring("banana", 2, 3)

reversed_ := strings.reverse("abc")

trimmed := trim("  x ", " ")

encoded := base64.encode("text?")

decoded := base64.decode("dGV4dD8=")

urlencoded := urlquery.encode("a b&c=d")

urldecoded := urlquery.decode_object("a=1&a=2&b=x+y")

hexed := hex.encode("text")

globbed := glob.match("api/*/read", ["/"], "api/x/read")

marshalled := json.marshal({"a": [1, "x"]})

unmarshalled := json.unmarshal("{\"a\": [1, 2.5, null]}")

sorted := sort(["b", "a", 1, true, null])

typed := [type_name(x) | some x in [1, "s", true, null, [], {}, set()]]

filtered := object.filter({"a": 1, "b": 2}, ["a"])

gotten := object.get({"a": {"b": 2}}, ["a", "b"], "none")

unioned := object.union({"a": {"x": 1}}, {"a": {"y": 2}})
