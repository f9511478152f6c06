"""The HTTP gateway: transport only.

`http` has the routes, `schemas` what they take and give, `problems` the errors, `stream` server-sent events, `deps`
what the gateway is given and `live` how that is made of the database, the cache and the stream of anomalies. No
route opens a connection of its own or knows an actor; a new route is a function in `http`, its models in `schemas`.
"""
