"""The child process of ``kerberos``: reads ``user@REALM``, a line feed and the password from standard input, asks once,
and prints ``ok`` or ``error`` with Kerberos' number (library errors, which are none of the protocol's, as -1).

It imports nothing of the product, so that it starts fast.
"""

import sys

BASE = -1765328384
"""Of libkrb5's numbers; the first 128 are the protocol's own."""


def main() -> str:
    import krb5

    name, _, password = sys.stdin.buffer.read().partition(b"\n")
    context = krb5.init_context()
    principal = krb5.parse_name_flags(context, name)
    options = krb5.get_init_creds_opt_alloc(context)
    krb5.get_init_creds_opt_set_forwardable(options, False)
    try:
        krb5.get_init_creds_password(context, principal, options, password)
    except krb5.Krb5Error as error:
        number = error.err_code - BASE
        return f"error {number if 0 <= number < 128 else -1}"
    return "ok"


if __name__ == "__main__":
    sys.stdout.write(main())
