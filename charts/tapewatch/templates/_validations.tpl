{{- define "tapewatch.validate" -}}
{{- include "tapewatch.validateTexts" . -}}
{{- include "tapewatch.validateServers" . -}}
{{- include "tapewatch.validateSettings" . -}}
{{- include "tapewatch.validateSource" . -}}
{{- include "tapewatch.validateWorkers" . -}}
{{- include "tapewatch.validateVolume" . -}}
{{- include "tapewatch.validateHours" . -}}
{{- include "tapewatch.validateWays" . -}}
{{- include "tapewatch.validateChanges" . -}}
{{- end -}}

{{- define "tapewatch.validateServers" -}}
{{- if not (.Capabilities.APIVersions.Has "ray.io/v1") -}}
{{- fail "\n\nThe KubeRay operator is missing (no ray.io/v1 in this cluster). Install it first:\n  helm repo add kuberay https://ray-project.github.io/kuberay-helm/\n  helm install kuberay-operator kuberay/kuberay-operator --version 1.6.1 -n kuberay --create-namespace\n" -}}
{{- end -}}
{{- /* An older one drops the fields it does not know, authOptions among them: Ray would let anybody in. */ -}}
{{- if and (.Capabilities.APIVersions.Has "ray.io/v1/RayService") (not (.Capabilities.APIVersions.Has "ray.io/v1/RayCronJob")) -}}
{{- fail "\n\nThe KubeRay operator is older than 1.6 (no RayCronJob among its kinds). Helm upgrades no kinds, so both:\n  kubectl replace -k 'github.com/ray-project/kuberay/ray-operator/config/crd?ref=v1.6.1'\n  helm upgrade kuberay-operator kuberay/kuberay-operator --version 1.6.1 -n kuberay\n" -}}
{{- end -}}
{{- if and (not .Values.postgresql.enabled) (not .Values.postgresql.existingSecret) -}}
{{- fail "\n\npostgresql: expected existingSecret (a Secret whose key `url` is postgresql://...) where enabled is false, was empty\n" -}}
{{- end -}}
{{- if and (not .Values.redis.enabled) (not .Values.redis.existingSecret) -}}
{{- fail "\n\nredis: expected existingSecret (a Secret whose key `url` is redis://...) where enabled is false, was empty\n" -}}
{{- end -}}
{{- if and .Values.ray.gcsFaultTolerance (not .Values.redis.enabled) (not .Values.redis.gcsAddress) -}}
{{- fail "\n\nray.gcsFaultTolerance: with a Redis of yours it needs redis.gcsAddress (host:port), was empty\n" -}}
{{- end -}}
{{- range $key, $place := dict "gcsAddress" "host:port" "gcsUsername" "user" -}}
{{- if and $.Values.redis.enabled (get $.Values.redis $key) -}}
{{- fail (printf "\n\nredis.%s: expected none beside redis.enabled: true, whose own Redis holds Ray's cluster state, was %s\n" $key (get $.Values.redis $key)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.postgresql.enabled (lt (include "tapewatch.gib" .Values.postgresql.size | float64) 1.0) -}}
{{- fail (printf "\n\npostgresql.size: expected at least 1Gi, was %s\n" .Values.postgresql.size) -}}
{{- end -}}
{{- $m := .Values.monitoring -}}
{{- $port := int $m.metrics.port -}}
{{- if or (has $port (list 6379 8000 8080 8265 44217 44227 52365)) (and (ge $port 10001) (le $port 19999)) -}}
{{- fail (printf "\n\nmonitoring.metrics.port: expected none of Ray's own (6379, 8000, 8080, 8265, 10001 to 19999, 44217, 44227, 52365), was %d\n" $port) -}}
{{- end -}}
{{- range $kind := list "serviceMonitor" "podMonitor" "rules" -}}
{{- if and (get $m $kind).enabled (not ($.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- fail (printf "\n\nmonitoring.%s.enabled: the Prometheus operator is missing (no monitoring.coreos.com/v1 in this cluster). Install it first:\n  helm repo add prometheus-community https://prometheus-community.github.io/helm-charts\n  helm install prometheus prometheus-community/kube-prometheus-stack -n monitoring --create-namespace\nor, without one, monitoring.metrics.scrapeAnnotations\n" $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $m.grafana.enabled (not (and $m.prometheus.enabled .Values.postgresql.enabled)) -}}
{{- fail "\n\nmonitoring.grafana.enabled: expected monitoring.prometheus.enabled and postgresql.enabled beside it, whose data it shows.\nFor a Grafana of yours: monitoring.dashboards.enabled, or `tapewatch grafana sync`\n" -}}
{{- end -}}
{{- end -}}

{{/* Keys of the config file that have another place in a cluster: the chart sets them, or they are secrets. */}}
{{- define "tapewatch.validateSettings" -}}
{{- $places := dict
  "database_url" "postgresql.existingSecret" "redis_url" "redis.existingSecret"
  "http.token" "api.existingSecret" "polygon.api_key" "vendor.existingSecret"
  "sinks.webhook.secret" "sinks.existingSecret" "sinks.grafana.token" "sinks.existingSecret"
  "metrics.port" "monitoring.metrics.port" "simulator.ws" "" "simulator.rest" ""
  "data_dir" "" "http.host" "" "http.port" "" "metrics.host" ""
-}}
{{- $s3 := "no pod of the chart reads S3, `tapewatch import` takes it from AWS_* where it runs" -}}
{{- $reasons := dict "s3.key" $s3 "s3.secret" $s3 "s3.session_token" $s3 -}}
{{- range $path, $place := $places -}}
{{- $_ := set $reasons $path (printf "the chart sets it%s" (ternary (printf ": use %s" $place) "" (ne $place ""))) -}}
{{- end -}}
{{- range $path, $reason := $reasons -}}
{{- $at := $.Values.settings -}}
{{- range splitList "." $path -}}
{{- if kindIs "map" $at -}}{{- $at = get $at . -}}{{- else -}}{{- $at = "" -}}{{- end -}}
{{- end -}}
{{- if not (has $at (list "" nil)) -}}
{{- fail (printf "\n\nsettings.%s: expected none here, %s\n" $path $reason) -}}
{{- end -}}
{{- end -}}
{{- range $sink, $key := dict "webhook" "TAPEWATCH_SINKS__WEBHOOK__SECRET" "grafana" "TAPEWATCH_SINKS__GRAFANA__TOKEN" -}}
{{- if and (dig "sinks" $sink "url" "" $.Values.settings) (not $.Values.sinks.existingSecret) -}}
{{- fail (printf "\n\nsettings.sinks.%s.url: expected sinks.existingSecret beside it, a Secret with the key %s, was empty\n" $sink $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tapewatch.validateSource" -}}
{{- $source := include "tapewatch.source" . -}}
{{- if and (eq $source "polygon") (not .Values.vendor.existingSecret) -}}
{{- fail "\n\nsettings.source: polygon needs vendor.existingSecret, a Secret with your key:\n  kubectl create secret generic polygon --from-literal=POLYGON_API_KEY=...\n" -}}
{{- end -}}
{{- if and .Values.vendor.existingSecret (ne $source "polygon") (not .Values.backfill.schedule) -}}
{{- fail (printf "\n\nvendor.existingSecret: expected settings.source: polygon or a backfill.schedule beside it, or none, was %s with source %s, which asks the vendor nothing\n" .Values.vendor.existingSecret $source) -}}
{{- end -}}
{{- $net := .Values.networkPolicy -}}
{{- range $asks, $is := dict "settings.source: polygon" (eq $source "polygon") "backfill.schedule" (ne .Values.backfill.schedule "") -}}
{{- if and $is $net.enabled (not $net.allowOutbound) (not $net.extraEgress) -}}
{{- fail (printf "\n\nnetworkPolicy.allowOutbound: %s needs a way to the vendor, true or one in networkPolicy.extraEgress\n" $asks) -}}
{{- end -}}
{{- end -}}
{{- range $key, $url := include "tapewatch.outbound" . | fromJson -}}
{{- if and $net.enabled (not $net.allowOutbound) (not $net.extraEgress) -}}
{{- fail (printf "\n\nnetworkPolicy.allowOutbound: settings.%s needs a way to %s, true or one in networkPolicy.extraEgress\n" $key $url) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.backfill.schedule (not .Values.vendor.existingSecret) -}}
{{- fail "\n\nbackfill.schedule: expected vendor.existingSecret beside it, the key the past is asked for with, was empty\n" -}}
{{- end -}}
{{- end -}}

{{- define "tapewatch.validateWorkers" -}}
{{- $names := list -}}{{- $streams := 0 -}}{{- $serves := 0 -}}
{{- range .Values.ray.workers -}}
{{- if has .name $names -}}
{{- fail (printf "\n\nray.workers: expected a name of its own for each group, was %s twice\n" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if gt (int .replicas) (int (default .replicas .maxReplicas)) -}}
{{- fail (printf "\n\nray.workers: expected maxReplicas of %s at least its replicas, %v, was %v\n" .name .replicas .maxReplicas) -}}
{{- end -}}
{{- if eq (int (ternary (default .replicas .maxReplicas) .replicas $.Values.ray.autoscaling)) 0 -}}
{{- fail (printf "\n\nray.workers: expected replicas of %s above 0, or with ray.autoscaling its maxReplicas, was neither\n" .name) -}}
{{- end -}}
{{- if .stream -}}{{- $streams = add1 $streams -}}{{- end -}}
{{- if .serve -}}{{- $serves = add1 $serves -}}{{- end -}}
{{- end -}}
{{- if or (eq (int $streams) 0) (eq (int $serves) 0) -}}
{{- fail "\n\nray.workers: expected a group with stream: true and one with serve: true (it may be the same), was none\n" -}}
{{- end -}}
{{- if lt (int .Values.terminationGracePeriodSeconds) 60 -}}
{{- fail (printf "\n\nterminationGracePeriodSeconds: expected at least 60, to drain feeds and write checkpoints, was %v\n" .Values.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- end -}}

{{- define "tapewatch.validateVolume" -}}
{{- if and .Values.persistence.enabled (ne .Values.persistence.accessMode "ReadWriteMany") -}}
{{- $n := 0 -}}
{{- range .Values.ray.workers -}}
{{- if .stream -}}{{- $n = add $n (default .replicas .maxReplicas) -}}{{- end -}}
{{- end -}}
{{- if gt (int $n) 1 -}}
{{- fail (printf "\n\nray.workers: %d workers that stream need persistence.accessMode: ReadWriteMany, or persistence.enabled: false, was %s\n" $n .Values.persistence.accessMode) -}}
{{- end -}}
{{- if and (eq .Values.persistence.accessMode "ReadWriteOncePod") (eq .Values.ray.upgradeStrategy "NewCluster") -}}
{{- fail "\n\npersistence.accessMode: ReadWriteOncePod keeps the second cluster of ray.upgradeStrategy: NewCluster from its volume; expected ReadWriteOnce, ReadWriteMany or the strategy None\n" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tapewatch.validateHours" -}}
{{- if .Values.marketHours.enabled -}}
{{- range $class := .Values.settings.assets -}}
{{- if has $class (list "crypto" "forex" "futures") -}}
{{- fail (printf "\n\nmarketHours.enabled: expected asset classes of a day session in settings.assets (stocks, options, indices), was %s, which trades round the clock\n" $class) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tapewatch.validateWays" -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
{{- fail "\n\napi.ingress.host: expected a host name where the ingress is enabled, was empty\n" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (ne .Values.api.service.type "ClusterIP") -}}
{{- $blocks := list -}}
{{- range .Values.networkPolicy.gatewayFrom -}}{{- if .ipBlock -}}{{- $blocks = append $blocks .ipBlock -}}{{- end -}}{{- end -}}
{{- if not $blocks -}}
{{- fail (printf "\n\nnetworkPolicy.gatewayFrom: api.service.type: %s brings requests from outside the cluster; expected an ipBlock that lets them in, such as\n  gatewayFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]\n" .Values.api.service.type) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What Kubernetes does not change in place, of what runs already; a render without a cluster finds nothing. */}}
{{- define "tapewatch.validateChanges" -}}
{{- $space := .Release.Namespace -}}
{{- $name := printf "%s-checkpoints" (include "tapewatch.fullname" .) -}}
{{- with and .Values.persistence.enabled (lookup "v1" "PersistentVolumeClaim" $space $name) -}}
{{- $said := dict "key" "persistence" "values" $.Values.persistence "spec" .spec "mode" $.Values.persistence.accessMode -}}
{{- with include "tapewatch.changeRefused" $said -}}
{{- fail (printf "\n\n%s\nThe claim holds checkpoints only: a start without them folds the last days from the database. Delete it with the pods on it, upgrade again:\n  kubectl -n %s delete pvc %s --wait=false\n  kubectl -n %s delete pod -l app.kubernetes.io/instance=%s,app.kubernetes.io/component=worker\n" . $space $name $space $.Release.Name) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "postgresql" "redis" -}}
{{- $values := get $.Values $key -}}
{{- $name := printf "%s-%s" (include "tapewatch.fullname" $) $key -}}
{{- with and $values.enabled (lookup "apps/v1" "StatefulSet" $space $name) -}}
{{- $said := dict "key" $key "values" $values "spec" (first .spec.volumeClaimTemplates).spec "mode" "ReadWriteOnce" "isFixed" true -}}
{{- with include "tapewatch.changeRefused" $said -}}
{{- $was := include "tapewatch.gib" $said.spec.resources.requests.storage | float64 -}}
{{- if and (contains ".size: " .) (gt (include "tapewatch.gib" $values.size | float64) $was) -}}
{{- fail (printf "\n\n%s\nGrow the claim where its class can, delete the StatefulSet without its pod, upgrade again:\n  kubectl -n %s patch pvc data-%s-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'\n  kubectl -n %s delete statefulset %s --cascade=orphan\n" . $space $name $values.size $space $name) -}}
{{- end -}}
{{- fail (printf "\n\n%s\nKeep it; or, for a new volume, copy out what you keep (pg_dump, redis-cli --rdb), delete the server with its volume, upgrade again:\n  kubectl -n %s delete statefulset %s\n  kubectl -n %s delete pvc data-%s-0\n" . $space $name $space $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Say which change of a volume is refused, nothing where none is: key, values, spec as it is, mode, isFixed where it cannot grow. */}}
{{- define "tapewatch.changeRefused" -}}
{{- $mode := first .spec.accessModes -}}
{{- $class := .spec.storageClassName | default "" -}}
{{- $size := .spec.resources.requests.storage -}}
{{- $was := include "tapewatch.gib" $size | float64 -}}
{{- $is := include "tapewatch.gib" .values.size | float64 -}}
{{- if ne .mode $mode -}}{{ .key }}.accessMode: expected {{ $mode }} as it is, which Kubernetes does not change, was {{ .mode }}
{{- else if and (or .values.storageClass .isFixed) (ne .values.storageClass $class) -}}{{ .key }}.storageClass: expected {{ $class | default "none" }} as it is, which Kubernetes does not change, was {{ .values.storageClass | default "none" }}
{{- else if or (lt $is $was) (and .isFixed (ne $is $was)) -}}{{ .key }}.size: expected {{ $size }} as it is, which Kubernetes does not change, was {{ .values.size }}
{{- end -}}
{{- end -}}
