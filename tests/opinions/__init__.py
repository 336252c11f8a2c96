"""Second opinions: what this project says of Windows, put to programs that nobody here wrote.

Run by ``make prove`` only (``python -m tests.opinions``). Two other minds are asked: the shipped C# helpers run on
Microsoft's .NET Core for Windows under Wine, and local accounts are read and set through Samba's ``libnetapi`` from a
real smbd. Every call has the answer that Microsoft's documents give; it is also put to the lab's model. Where another
program answers otherwise, the difference stands in ``differences.md`` with its reason.
"""
