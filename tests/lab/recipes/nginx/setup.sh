set -eu
mkdir -p /srv/mirror
rm -f /etc/nginx/sites-enabled/default
ln -s ../sites-available/mirror /etc/nginx/sites-enabled/mirror
nginx -t
systemctl enable nginx.service
