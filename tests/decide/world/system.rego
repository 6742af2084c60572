package system

main := {"hello": input.name}

health.live := true

health.dead := false

health.odd := "yes"

health.plugins if input.plugins_ready
