"""Keep the history of the schema, one file a step under `versions/`, run by `ray_apps.store.migrate`."""
