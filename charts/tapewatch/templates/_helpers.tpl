{{/* At most 35 characters: a CronJob's name has 52, the longest is NAME-backfill-options. One that is cut ends in a sum
of the whole, lest two releases meet. */}}
{{- define "tapewatch.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-tapewatch" .Release.Name) (contains "tapewatch" .Release.Name) -}}
{{- $name = .Values.fullnameOverride | default $name -}}
{{- if gt (len $name) 35 -}}
{{- $name = printf "%s-%s" ($name | trunc 26 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{ $name }}
{{- end -}}

{{- define "tapewatch.selector" -}}
app.kubernetes.io/name: tapewatch
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "tapewatch.labels" -}}
{{ include "tapewatch.labelsWith" (dict "root" . "more" dict) }}
{{- end -}}

{{/* Labels of an object, with more of its own: root, more. Those of the chart stand, each key once, each a text. */}}
{{- define "tapewatch.labelsWith" -}}
{{- $made := dict "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $made "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) -}}
{{ include "tapewatch.texts" (merge $made (include "tapewatch.selector" .root | fromYaml) .more .root.Values.commonLabels) }}
{{- end -}}

{{/* Labels of a pod: root, component. Not the chart's version: a new one alone must replace no pod. */}}
{{- define "tapewatch.podLabels" -}}
{{- $made := dict "app.kubernetes.io/component" .component -}}
{{ include "tapewatch.texts" (merge $made (include "tapewatch.selector" .root | fromYaml) .root.Values.commonLabels) }}
{{- end -}}

{{- define "tapewatch.texts" -}}
{{- $made := dict -}}
{{- range $key, $value := . -}}{{- $_ := set $made $key (toString $value) -}}{{- end -}}
{{ toYaml $made }}
{{- end -}}

{{- define "tapewatch.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What is watched: polygon, synthetic or push, as the program chooses it. */}}
{{- define "tapewatch.source" -}}
{{ .Values.settings.source | default (ternary "polygon" "synthetic" (ne .Values.vendor.existingSecret "")) }}
{{- end -}}

{{/* A quantity such as 20Gi in GiB. */}}
{{- define "tapewatch.gib" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- range $i, $unit := list "Ki" "Mi" "Gi" "Ti" "Pi" "Ei" -}}
{{- $_ := set $units $unit (index (list 1024.0 1048576.0 1073741824.0 1099511627776.0 1125899906842624.0 1152921504606846976.0) $i) -}}
{{- end -}}
{{ divf (mulf (float64 $number) (get $units (trimPrefix $number .))) 1073741824.0 }}
{{- end -}}

{{/* MiB the write-ahead log of the bundled PostgreSQL comes to: a tenth of its volume, 2 GiB at most. */}}
{{- define "tapewatch.walMib" -}}
{{ min 2048 (int (mulf (include "tapewatch.gib" .Values.postgresql.size | float64) 102.4)) }}
{{- end -}}

{{/* Addresses of the vendor that `settings` name, by their key, as JSON. */}}
{{- define "tapewatch.vendorAddresses" -}}
{{- $made := dict -}}
{{- if or (eq (include "tapewatch.source" .) "polygon") .Values.backfill.schedule -}}
{{- $polygon := .Values.settings.polygon | default dict -}}
{{- with $polygon.rest_url }}{{ $_ := set $made "polygon.rest_url" . }}{{ end -}}
{{- $scheme := ternary "https" "http" (dig "ws_secure" true $polygon) -}}
{{- with $polygon.ws_host }}{{ $_ := set $made "polygon.ws_host" (printf "%s://%s" $scheme .) }}{{ end -}}
{{- end -}}
{{ toJson $made }}
{{- end -}}

{{/* Those that Ray's pods call outside of the release: of the vendor and of sinks. */}}
{{- define "tapewatch.outbound" -}}
{{- $made := include "tapewatch.vendorAddresses" . | fromJson -}}
{{- $own := printf "://%s-" (include "tapewatch.fullname" .) -}}
{{- range $sink := list "webhook" "grafana" -}}
{{- $url := dig "sinks" $sink "url" "" $.Values.settings -}}
{{- if and $url (not (contains $own $url)) }}{{ $_ := set $made (printf "sinks.%s.url" $sink) $url }}{{ end -}}
{{- end -}}
{{ toJson $made }}
{{- end -}}

{{/* Egress rules to 443 anywhere and to the ports of addresses (JSON) that are others. */}}
{{- define "tapewatch.outside" -}}
- ports: [{port: 443}]
  to: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: "::/0"}}]
{{- $ports := list -}}
{{- range fromJson . -}}
{{- $host := regexReplaceAll "^[a-z]+://" . "" | regexFind "^[^/?#]+" -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http://" .)) -}}
{{- if ne $port "443" }}{{ $ports = append $ports (int $port) }}{{ end -}}
{{- end }}
{{- with $ports | uniq }}
# addresses of `settings`
- ports: {{ include "tapewatch.ports" . }}
{{- end }}
{{- end -}}

{{/* Ports as a NetworkPolicy lists them. */}}
{{- define "tapewatch.ports" -}}
[{{ range $i, $port := . }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
{{- end -}}

{{/* Security of every pod: passes the restricted Pod Security standard. */}}
{{- define "tapewatch.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .uid }}
runAsGroup: {{ .uid }}
fsGroup: {{ .uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tapewatch.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "tapewatch.databaseSecret" -}}
{{ .Values.postgresql.existingSecret | default (printf "%s-database" (include "tapewatch.fullname" .)) }}
{{- end -}}
{{- define "tapewatch.redisSecret" -}}
{{ .Values.redis.existingSecret | default (printf "%s-redis" (include "tapewatch.fullname" .)) }}
{{- end -}}
{{- define "tapewatch.apiSecret" -}}
{{ .Values.api.existingSecret | default (printf "%s-api" (include "tapewatch.fullname" .)) }}
{{- end -}}

{{/* A password that is made once: what is there already is kept over upgrades. */}}
{{- define "tapewatch.kept" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if and $found $found.data (index $found.data .key) -}}{{ index $found.data .key | b64dec }}
{{- else -}}{{ randAlphaNum 32 }}{{- end -}}
{{- end -}}

{{/* Addresses and secrets, by reference. */}}
{{- define "tapewatch.databaseEnv" -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.databaseSecret" . | quote }}, key: {{ .Values.postgresql.key | quote }}}}
{{- end -}}

{{- define "tapewatch.vendorEnv" -}}
{{- with .Values.vendor.existingSecret }}
- name: POLYGON_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.vendor.key | quote }}}}
{{- end }}
{{- range $class, $tier := merge dict (dig "polygon" "tiers" dict .Values.settings) .Values.vendor.tiers }}
- {name: POLYGON_TIER_{{ upper $class }}, value: {{ $tier }}}
{{- end }}
{{- end -}}

{{- define "tapewatch.env" -}}
{{ include "tapewatch.databaseEnv" . }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.redisSecret" . | quote }}, key: {{ .Values.redis.key | quote }}}}
- name: TAPEWATCH_HTTP__TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.apiSecret" . | quote }}, key: {{ .Values.api.key | quote }}}}
{{- include "tapewatch.vendorEnv" . }}
- {name: TAPEWATCH_METRICS__HOST, value: "0.0.0.0"}
- {name: TAPEWATCH_METRICS__PORT, value: {{ .Values.monitoring.metrics.port | quote }}}
{{- if .Values.postgresql.enabled }}
# the volume less its write-ahead log; what `settings` says wins
{{- $limit := subf (include "tapewatch.gib" .Values.postgresql.size | float64) (divf (include "tapewatch.walMib" . | float64) 1024.0) }}
- {name: TAPEWATCH_METRICS__DATABASE_LIMIT_GIB, value: {{ printf "%.2f" $limit | quote }}}
{{- end }}
# whatever is watched: another source alone replaces no pod
- {name: TAPEWATCH_SIMULATOR__WS, value: "{{ include "tapewatch.fullname" . }}-simulator:8765"}
- {name: TAPEWATCH_SIMULATOR__REST, value: "{{ include "tapewatch.fullname" . }}-simulator:8080"}
{{- end -}}

{{/* Places a read-only container writes to. */}}
{{- define "tapewatch.scratchMounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /home/tapewatch}
- {name: kernels, mountPath: /numba}
{{- end -}}
{{- define "tapewatch.scratch" -}}
- {name: tmp, emptyDir: {sizeLimit: 4Gi}}
- {name: home, emptyDir: {sizeLimit: 256Mi}}
- {name: kernels, emptyDir: {sizeLimit: 256Mi}}
{{- end -}}

{{/* Compiled kernels to where numba may write: it refuses a cache it cannot. */}}
{{- define "tapewatch.kernels" -}}
- name: kernels
  image: {{ include "tapewatch.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [cp, -r, /opt/numba/., /numba/]
  securityContext: {{- include "tapewatch.containerSecurity" . | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: "1", memory: 64Mi}}
  volumeMounts: [{name: kernels, mountPath: /numba}]
{{- end -}}

{{/* What the spec of every pod says. */}}
{{- define "tapewatch.everyPod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Groups of workers that stream, as a list in JSON. */}}
{{- define "tapewatch.streams" -}}
{{- $names := list -}}
{{- range .Values.ray.workers }}{{ if .stream }}{{ $names = append $names .name }}{{ end }}{{ end -}}
{{ toJson $names }}
{{- end -}}

{{/* A file of rules, its runbooks where monitoring.rules.runbooks says: root, path. */}}
{{- define "tapewatch.rules" -}}
{{- $at := printf "runbook_url: %sgrafana/RUNBOOK.md" .root.Values.monitoring.rules.runbooks -}}
{{ .root.Files.Get .path | replace "runbook_url: grafana/RUNBOOK.md" $at }}
{{- end -}}

{{/* A board, its links to the gateway where people reach it: root, path. */}}
{{- define "tapewatch.board" -}}
{{- $api := .root.Values.api.ingress -}}
{{- $host := ternary (printf "http%s://%s" (ternary "s" "" (ne $api.tlsSecret "")) $api.host) "http://127.0.0.1:8000" $api.enabled -}}
{{ .root.Files.Get .path | replace "http://127.0.0.1:8000" (.root.Values.monitoring.dashboards.gateway | default $host) }}
{{- end -}}
