{{- define "tapewatch.validate" -}}
{{- if not (.Capabilities.APIVersions.Has "ray.io/v1") -}}
{{- fail "\n\nThe KubeRay operator is missing (no ray.io/v1 in this cluster). Install it first:\n  helm repo add kuberay https://ray-project.github.io/kuberay-helm/\n  helm install kuberay-operator kuberay/kuberay-operator --version 1.6.1 -n kuberay --create-namespace\n" -}}
{{- end -}}
{{- if and (not .Values.postgresql.enabled) (not .Values.postgresql.existingSecret) -}}
{{- fail "\n\npostgresql: expected existingSecret (a Secret whose key `url` is postgresql://...) where enabled is false, was empty\n" -}}
{{- end -}}
{{- if and (not .Values.redis.enabled) (not .Values.redis.existingSecret) -}}
{{- fail "\n\nredis: expected existingSecret (a Secret whose key `url` is redis://...) where enabled is false, was empty\n" -}}
{{- end -}}
{{- $source := .Values.settings.source | default (ternary "polygon" "synthetic" (ne .Values.vendor.existingSecret "")) -}}
{{- if and (eq $source "synthetic") (not .Values.simulator.enabled) -}}
{{- fail "\n\nsettings.source: synthetic needs simulator.enabled: true\n" -}}
{{- end -}}
{{- if and (eq $source "polygon") (not .Values.vendor.existingSecret) -}}
{{- fail "\n\nsettings.source: polygon needs vendor.existingSecret, a Secret with your key:\n  kubectl create secret generic polygon --from-literal=POLYGON_API_KEY=...\n" -}}
{{- end -}}
{{- range $key := list "database_url" "redis_url" "data_dir" -}}
{{- if hasKey $.Values.settings $key -}}
{{- fail (printf "\n\nsettings.%s: expected none here, the chart sets it (secrets come by existingSecret)\n" $key) -}}
{{- end -}}
{{- end -}}
{{- $streams := 0 -}}{{- $serves := 0 -}}
{{- range .Values.ray.workers -}}
{{- if .stream -}}{{- $streams = add1 $streams -}}{{- end -}}
{{- if .serve -}}{{- $serves = add1 $serves -}}{{- end -}}
{{- end -}}
{{- if or (eq (int $streams) 0) (eq (int $serves) 0) -}}
{{- fail "\n\nray.workers: expected a group with stream: true and one with serve: true (it may be the same), was none\n" -}}
{{- end -}}
{{- if and .Values.ray.gcsFaultTolerance (not .Values.redis.enabled) (not .Values.redis.gcsAddress) -}}
{{- fail "\n\nray.gcsFaultTolerance: with a Redis of yours it needs redis.gcsAddress (host:port), was empty\n" -}}
{{- end -}}
{{- if .Values.marketHours.enabled -}}
{{- range $class := .Values.settings.assets -}}
{{- if has $class (list "crypto" "forex") -}}
{{- fail (printf "\n\nmarketHours.enabled: expected asset classes with sessions in settings.assets, was %s, which trades round the clock\n" $class) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
{{- fail "\n\napi.ingress.host: expected a host name where the ingress is enabled, was empty\n" -}}
{{- end -}}
{{- end -}}
