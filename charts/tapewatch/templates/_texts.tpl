{{/* Texts of the values, held against what each may be: a schema could only answer with the pattern. */}}
{{- define "tapewatch.validateTexts" -}}
{{- $quantity := list "a quantity such as 20Gi" `^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*)([kMGTPE]|[KMGTPE]i)?$` -}}
{{- $object := list "a name of an object of Kubernetes: small letters, digits, hyphens and dots" `^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$` -}}
{{- $key := list "a key of a Secret: letters, digits, hyphens, underscores and dots" `^[-._a-zA-Z0-9]+$` -}}
{{- $image := list "the name of an image" `^\S+$` -}}
{{- $every := `@(hourly|daily|midnight|weekly|monthly|yearly|annually|every \S+)|([0-9*/,?-]+\s+){3}[0-9A-Za-z*/,-]+\s+[0-9A-Za-z*/,?-]+` -}}
{{- $cron := list "a cron schedule such as 30 5 * * * or @daily" (printf "^(%s)$" $every) -}}
{{- $maybeCron := list "a cron schedule such as 30 5 * * * or @daily, or none" (printf "^(%s)?$" $every) -}}
{{- $rules := dict
  "fullnameOverride" (list "small letters, digits and hyphens, a letter first" `^([a-z]([-a-z0-9]*[a-z0-9])?)?$`)
  "image.repository" $image "postgresql.image" $image "redis.image" $image
  "monitoring.prometheus.image" $image "monitoring.grafana.image" $image
  "image.digest" (list "sha256: and 64 hexadecimal digits" `^(sha256:[0-9a-f]{64})?$`)
  "ray.version" (list "a version such as 2.60.0" `^[0-9]+\.[0-9]+\.[0-9]+`)
  "postgresql.size" $quantity "redis.size" $quantity "persistence.size" $quantity
  "postgresql.storageClass" $object "redis.storageClass" $object "persistence.storageClass" $object
  "priorityClassName" $object "api.ingress.className" $object "api.ingress.tlsSecret" $object
  "vendor.existingSecret" $object "api.existingSecret" $object "sinks.existingSecret" $object
  "postgresql.existingSecret" $object "redis.existingSecret" $object
  "monitoring.serviceMonitor.namespace" $object "monitoring.podMonitor.namespace" $object
  "monitoring.rules.namespace" $object "monitoring.dashboards.namespace" $object
  "vendor.key" $key "api.key" $key "postgresql.key" $key "redis.key" $key
  "redis.gcsAddress" (list "host:port or rediss://host:port" `^((rediss?://)?([^/:@\s]+|\[[0-9a-fA-F:]+\]):[0-9]+)?$`)
  "api.ingress.host" (list "a host name such as tapewatch.example.org" `^((\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$`)
  "retention.schedule" $maybeCron "backfill.schedule" $maybeCron "marketHours.open" $cron "marketHours.close" $cron
  "marketHours.timeZone" (list "a time zone such as America/New_York" `^[A-Za-z]+(/[A-Za-z0-9_+-]+)*$`)
  "monitoring.rules.runbooks" (list "an address that ends in a slash, such as https://example.org/tapewatch/" `^(https?://\S+/)?$`)
  "monitoring.dashboards.gateway" (list "an address such as https://tapewatch.example.org" `^(https?://[^/\s]+\S*)?$`)
-}}
{{- range $path, $rule := $rules -}}
{{- $at := $.Values -}}
{{- range splitList "." $path -}}{{- $at = get $at . -}}{{- end -}}
{{- if not (regexMatch (index $rule 1) $at) -}}
{{- fail (printf "\n\n%s: expected %s, was %q\n" $path (first $rule) $at) -}}
{{- end -}}
{{- end -}}
{{- range .Values.ray.workers -}}
{{- if not (regexMatch `^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$` .name) -}}
{{- fail (printf "\n\nray.workers: expected a name of small letters, digits and hyphens, 32 at most, was %q\n" .name) -}}
{{- end -}}
{{- end -}}
{{- $name := include "tapewatch.fullname" . -}}
{{- if not (and (regexMatch `^[a-z]([-a-z0-9]*[a-z0-9])?$` $name) (kindIs "string" (get (printf "name: %s" $name | fromYaml) "name"))) -}}
{{- fail (printf "\n\nexpected a release name of small letters, digits and hyphens, a letter first, or a fullnameOverride that is one, was %q\n" $name) -}}
{{- end -}}
{{- range $part := list "postgresql" "redis" -}}
{{- $own := get $.Values $part -}}
{{- if and $own.enabled (eq $own.key "password") -}}
{{- fail (printf "\n\n%s.key: expected another key than password, which holds the password alone\n" $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}
