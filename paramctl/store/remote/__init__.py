"""Files behind URLs: only headers, and the values that are asked for, travel.

opening.py      from a URL to a location
file.py         the location: a cache of what was read, and the sizes of requests
spans.py        the cache
ranges.py       the protocol of a file that is read by ranges
http_ranges.py  ranges over HTTP: checks of every answer, one version of the file, another try after a failure
http.py         connections that are kept, proxies, redirects
retries.py      further tries, and the waits between them
hub.py          hf://, the hub of Hugging Face, and its cache on this machine
credentials.py  tokens and passwords, from the places that other programs use
fsspec_files.py any other scheme, by fsspec
"""
