{{- define "tapewatch.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains "tapewatch" .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-tapewatch" .Release.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "tapewatch.selector" -}}
app.kubernetes.io/name: tapewatch
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tapewatch.labels" -}}
{{ include "tapewatch.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tapewatch.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Security of every pod: passes the restricted Pod Security standard. */}}
{{- define "tapewatch.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .uid }}
runAsGroup: {{ .uid }}
fsGroup: {{ .uid }}
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
{{- define "tapewatch.env" -}}
- name: DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.databaseSecret" . }}, key: {{ .Values.postgresql.key }}}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.redisSecret" . }}, key: {{ .Values.redis.key }}}}
- name: TAPEWATCH_HTTP__TOKEN
  valueFrom: {secretKeyRef: {name: {{ include "tapewatch.apiSecret" . }}, key: {{ .Values.api.key }}}}
{{- with .Values.vendor.existingSecret }}
- name: POLYGON_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.vendor.key }}}}
{{- end }}
{{- range $class, $tier := .Values.vendor.tiers }}
- {name: POLYGON_TIER_{{ upper $class }}, value: {{ $tier }}}
{{- end }}
- {name: TAPEWATCH_METRICS__HOST, value: "0.0.0.0"}
- {name: TAPEWATCH_METRICS__PORT, value: {{ .Values.monitoring.metrics.port | quote }}}
{{- if .Values.simulator.enabled }}
- {name: TAPEWATCH_SIMULATOR__WS, value: "{{ include "tapewatch.fullname" . }}-simulator:8765"}
- {name: TAPEWATCH_SIMULATOR__REST, value: "{{ include "tapewatch.fullname" . }}-simulator:8080"}
{{- end }}
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
  image: {{ include "tapewatch.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [cp, -r, /opt/numba/., /numba/]
  securityContext: {{- include "tapewatch.containerSecurity" . | nindent 4 }}
  resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: "1", memory: 64Mi}}
  volumeMounts: [{name: kernels, mountPath: /numba}]
{{- end -}}

{{- define "tapewatch.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
