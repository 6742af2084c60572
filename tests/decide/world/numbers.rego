package numbers

integer := 12345678901234567

large := 123456789012345678901234567890

negative := -7

float := 1.5

small := 0.0000001

whole := 2.0

exponent := 1e3

quotient := 1 / 3

half := 1 / 2

even := 4 / 2

remainder := 7 % 3

by_zero := 1 / 0

floor_ := floor(1.7)

power := 1e15 * 1e15

keys := {1: "one", 2.5: "two and a half", true: "yes", null: "nothing", [1, "a"]: "array"}

rounded := round(2.5)

formatted := format_int(255, 16)

parsed := to_number("12.50")
